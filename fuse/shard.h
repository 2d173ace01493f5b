// Shard: one thread of the mount, with its loop, its FileSystem and its channel.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "fuse/context.h"
#include "fuse/device_channel.h"
#include "transport/base/clock.h"
#include "transport/base/unique_fd.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// What all shards of a mount work on.
struct Tables {
  explicit Tables(const wire::FileHandle& root) : nodes(root) {}
  NodeTable nodes;
  OpenFiles open_files;
  DirectoryAttributes directories;
  LockWaits lock_waits;
  LockReleases lock_releases;
  PageReads page_reads;
};

// A Shard is used by the main thread: made (which starts its thread), told to serve, to stop
// serving, and destroyed, in this order.
class Shard {
 public:
  struct Options {
    size_t index = 0;
    Nanoseconds busy_poll = 0;
  };
  // `pool` must outlive it.
  Shard(BufferPool& pool, const Clock& clock, const Options& options);
  // Ends the thread. The FileSystem that it served is gone.
  ~Shard();

  EventLoop& loop() { return loop_; }

  struct Service {
    FileSystem& file_system;
    Tables& tables;
    const Settings& settings;
    // A request, of whichever shard, was interrupted. On this shard's thread.
    std::function<void(uint64_t unique)> interrupt;
    // See Context::Parts. On this shard's thread.
    std::function<void(EventLoop::Task)> after_all_shards;
    // See Context::Parts. On this shard's thread.
    std::function<void(uint64_t node_id, EventLoop::Task)> drop_pages;
    // See Context::Parts. On this shard's thread.
    std::function<bool()> server_is_lost;
    // The mount is gone. On this shard's thread.
    std::function<void(Errno)> on_closed;
    // FUSE over io_uring, as it was agreed with the kernel: how many entries each of the mount's
    // queues gets, and how many shards share the queues. 0: the device alone.
    size_t uring_depth = 0;
    size_t shard_count = 1;
    // Where there is no io_uring.
    DeviceChannel::Sharing sharing;
  };
  // Serves the device `fd` (non-blocking, INIT answered).
  void Serve(UniqueFd fd, Service service);
  // A wait of this shard is given up. Any thread, until StopServing().
  void CancelWait(CancelToken token);
  // See Context::GiveUp(). Any thread, until StopServing().
  void GiveUp(uint64_t unique);
  // Lets those go who need not wait any more: see Context::LookForLostInterrupts() and
  // AnswerRootQuestions(). Any thread, until StopServing().
  void LookAfterCallers();
  // Takes no more requests. Waits until the server knows what was released, `patience` at most.
  void StopServing(Nanoseconds patience);

  const OperationStatistics& statistics() const { return statistics_; }
  // Payload bytes that were copied to hand them to the kernel. Any thread, between Serve() and the
  // end.
  uint64_t copied_bytes() const;

 private:
  struct Serving;
  struct Stopping;

  void Stop(std::shared_ptr<Stopping> stopping);

  const size_t index_;
  EventLoop loop_;
  BufferPool& pool_;
  OperationStatistics statistics_;
  std::unique_ptr<Serving> serving_;  // shard thread only, while that runs
  std::atomic<const Channel*> channel_{nullptr};
  std::thread thread_;
};

}  // namespace rdmafs::fuse
