#include "fuse/shard.h"

#include <pthread.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "fuse/device_channel.h"
#include "fuse/dispatcher.h"

namespace rdmafs::fuse {

// What is there while a mount is served, in the order in which it is made.
struct Shard::Serving {
  Serving(Shard& shard, UniqueFd fd, Service given)
      : service(std::move(given)),
        channel(std::move(fd), shard.loop_, shard.pool_),
        context({.loop = shard.loop_,
                 .channel = channel,
                 .file_system = service.file_system,
                 .nodes = service.tables.nodes,
                 .open_files = service.tables.open_files,
                 .lock_waits = service.tables.lock_waits,
                 .settings = service.settings,
                 .statistics = shard.statistics_,
                 .shard = shard.index_,
                 .interrupt = service.interrupt}),
        dispatcher(context, service.on_closed) {}

  Service service;
  DeviceChannel channel;
  Context context;
  Dispatcher dispatcher;
};

// A StopServing() that is under way.
struct Shard::Stopping {
  Nanoseconds deadline = 0;
  absl::Notification done;
};

Shard::Shard(Arena& arena, const Clock& clock, const Options& options)
    : index_(options.index),
      loop_(clock, {.busy_poll = options.busy_poll}),
      pool_(arena, {.cap_bytes = options.pool_bytes}),
      statistics_(kMaxOpcode),
      thread_([this] { loop_.Run(); }) {
  pthread_setname_np(thread_.native_handle(), absl::StrCat("shard-", index_).c_str());
}

Shard::~Shard() {
  loop_.Stop();
  thread_.join();
}

void Shard::Serve(UniqueFd fd, Service service) {
  loop_.Post([this, fd = std::move(fd), service = std::move(service)]() mutable {
    serving_ = std::make_unique<Serving>(*this, std::move(fd), std::move(service));
    const Errno error = serving_->channel.Start(serving_->dispatcher);
    if (!error.ok()) serving_->dispatcher.OnClosed(error);
  });
}

void Shard::CancelWait(CancelToken token) {
  loop_.Post([this, token] {
    if (serving_ != nullptr) serving_->service.file_system.CancelLock(token);
  });
}

void Shard::GiveUp(uint64_t unique) {
  loop_.Post([this, unique] {
    if (serving_ != nullptr) serving_->context.GiveUp(unique);
  });
}

void Shard::StopServing(Nanoseconds patience) {
  auto stopping = std::make_shared<Stopping>();
  stopping->deadline = loop_.clock().Now() + patience;
  loop_.Post([this, stopping] {
    if (serving_ == nullptr) return stopping->done.Notify();
    serving_->channel.Stop();
    // What the kernel did not close any more. The first shard speaks for all: the files are the
    // session's.
    if (index_ == 0) serving_->context.ReleaseAll();
    Stop(stopping);
  });
  stopping->done.WaitForNotification();
}

void Shard::Stop(std::shared_ptr<Stopping> stopping) {
  constexpr Nanoseconds kLookAgain = 2 * kMillisecond;
  if (serving_->context.releases_in_flight() == 0 || loop_.clock().Now() >= stopping->deadline) {
    stopping->done.Notify();
    return;
  }
  loop_.After(kLookAgain, [this, stopping] { Stop(stopping); });
}

}  // namespace rdmafs::fuse
