// BlockQueue: calls of one shard that wait for a block of a pool.
#pragma once

#include "server/call.h"
#include "transport/base/event_loop.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::server {

// Owned by one shard thread. First come, first served; as long as the shard has calls in flight at
// most.
class BlockQueue {
 public:
  BlockQueue(BufferPool& pool, EventLoop& loop) : pool_(pool), loop_(loop) {}

  BufferPool& pool() const { return pool_; }
  // Goes on at `next` with a block in the call's buffer().
  void Wait(Call& call, Call::Step next);
  size_t waiting_count() const { return waiting_count_; }

 private:
  void Ask();
  void Serve();

  BufferPool& pool_;
  EventLoop& loop_;
  ItemQueue<WorkItem> queue_;
  size_t waiting_count_ = 0;
  bool asked_ = false;
};

}  // namespace rdmafs::server
