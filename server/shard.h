// Shard: one thread, its event loop, and the connections and calls that live on it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/synchronization/notification.h"
#include "server/block_queue.h"
#include "server/call.h"
#include "server/channel.h"
#include "server/connection_registry.h"
#include "server/io_ring.h"
#include "server/server_context.h"
#include "transport/base/counter.h"
#include "transport/base/event_loop.h"
#include "transport/control/operation_statistics.h"
#include "transport/control/status_document.h"

namespace rdmafs::server {

// "Any thread" is said where that is so; all else is the shard thread's.
class Shard {
 public:
  struct Options {
    bool use_io_uring = true;
    Nanoseconds busy_poll = 0;
  };
  Shard(const ServerContext& context, const Options& options);
  // After the thread has ended, or when there was none.
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  // Runs the loop on a thread of its own. Or, for a test which runs the loop itself: Prepare().
  void Start();
  void Prepare();
  // Begins the end: closes every connection, and the loop stops when the last call is done. Any
  // thread.
  void Stop();
  // Whether the thread has ended by then; any other thread.
  bool WaitStopped(Nanoseconds patience);

  // Any thread: `connection` lives here from now on.
  void Adopt(std::unique_ptr<Connection> connection);
  // Any thread: closes the channel of that number, if it is still there.
  void Close(uint64_t channel_number);
  // Any thread: call.then_ runs on the shard's.
  void Resume(Call& call);

  const ServerContext& context() const { return context_; }
  EventLoop& loop() { return loop_; }
  IoRing* ring() { return ring_.get(); }  // nullptr: there is none, use a worker
  BlockQueue& QueueFor(BufferPool& pool) {
    return &pool == &messages_queue_.pool() ? messages_queue_ : blocks_queue_;
  }

  Call& TakeCall();
  void Recycle(Call& call);
  // Destroys a channel that nothing refers to any more, at the end of the round.
  void Bury(Channel& channel);

  // Any thread: counters of its operations and connections.
  void AddTo(ProgramStatus& status, ProgramStatus::Credits& credits) const;
  OperationStatistics& statistics() { return statistics_; }
  void CountReplay() { AddAsOnlyWriter(replays_); }
  // Its end has begun.
  bool stopping() const { return stopping_; }
  size_t connection_count() const { return connections_.count(); }

 private:
  void Count(int change);
  void RunResumed();
  void StopWhenIdle();

  const ServerContext& context_;
  const Options options_;
  EventLoop loop_;
  BlockQueue messages_queue_;
  BlockQueue blocks_queue_;
  std::unique_ptr<IoRing> ring_;
  std::thread thread_;

  // Shard thread only.
  std::unordered_map<uint64_t, std::unique_ptr<Channel>> channels_;
  uint64_t next_channel_ = 1;
  std::vector<std::unique_ptr<Call>> calls_;
  WorkItem* free_calls_ = nullptr;
  bool stopping_ = false;

  OperationStatistics statistics_;
  ConnectionRegistry connections_;
  absl::Notification ended_;

  std::atomic<WorkItem*> resumed_{nullptr};  // last first
  std::atomic<size_t> calls_in_flight_{0};   // written by the shard thread
  std::atomic<uint64_t> replays_{0};         // likewise
};

}  // namespace rdmafs::server
