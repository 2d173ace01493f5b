#include "fuse/shard.h"

#include <pthread.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "fuse/dispatcher.h"
#include "fuse/handlers.h"
#include "fuse/uring_channel.h"

namespace rdmafs::fuse {

// What is there while a mount is served, in the order in which it is made.
struct Shard::Serving {
  Serving(Shard& shard, UniqueFd fd, Service given)
      : service(std::move(given)),
        owned_channel(MakeChannel(shard, std::move(fd))),
        channel(*owned_channel),
        context({.loop = shard.loop_,
                 .channel = channel,
                 .file_system = service.file_system,
                 .nodes = service.tables.nodes,
                 .open_files = service.tables.open_files,
                 .directories = service.tables.directories,
                 .lock_waits = service.tables.lock_waits,
                 .lock_releases = service.tables.lock_releases,
                 .page_reads = service.tables.page_reads,
                 .settings = service.settings,
                 .statistics = shard.statistics_,
                 .shard = shard.index_,
                 .interrupt = service.interrupt,
                 .after_all_shards = service.after_all_shards,
                 .drop_pages = service.drop_pages,
                 .server_is_lost = service.server_is_lost}),
        dispatcher(context, service.on_closed) {}

  std::unique_ptr<Channel> MakeChannel(Shard& shard, UniqueFd fd) const {
    if (service.uring_depth == 0) {
      return std::make_unique<DeviceChannel>(std::move(fd), shard.loop_, shard.pool_,
                                             service.sharing);
    }
    return std::make_unique<UringChannel>(
        std::move(fd), shard.loop_, shard.pool_,
        UringChannel::Options{shard.index_, service.shard_count, UringChannel::QueueCount(),
                              service.uring_depth});
  }

  Service service;
  const std::unique_ptr<Channel> owned_channel;
  Channel& channel;
  Context context;
  Dispatcher dispatcher;
};

// A StopServing() that is under way.
struct Shard::Stopping {
  Nanoseconds deadline = 0;
  absl::Notification done;
};

Shard::Shard(BufferPool& pool, const Clock& clock, const Options& options)
    : index_(options.index),
      loop_(clock, {.busy_poll = options.busy_poll}),
      pool_(pool),
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
    channel_.store(&serving_->channel, std::memory_order_release);
    const Errno error = serving_->channel.Start(serving_->dispatcher);
    if (!error.ok()) serving_->dispatcher.OnClosed(error);
  });
}

uint64_t Shard::copied_bytes() const {
  const Channel* channel = channel_.load(std::memory_order_acquire);
  return channel == nullptr ? 0 : channel->copied_bytes();
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

void Shard::LookAfterCallers() {
  loop_.Post([this] {
    if (serving_ == nullptr) return;
    serving_->context.LookForLostInterrupts();
    if (serving_->context.server_is_lost()) AnswerRootQuestions(serving_->context);
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
