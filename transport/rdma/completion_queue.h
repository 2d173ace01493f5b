// CompletionQueue: a CQ with its channel, armed when the loop is about to sleep.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

// Owned by one shard thread.
class CompletionQueue {
 public:
  // `vector` chooses the interrupt, modulo what the device has.
  static absl::StatusOr<std::unique_ptr<CompletionQueue>> Create(ibv_context* device,
                                                                 int entry_count, unsigned vector);
  ~CompletionQueue();

  ibv_cq* get() const { return queue_.get(); }
  // Readable once after Arm() when a completion came. Does not block.
  int fd() const { return channel_->fd; }

  // Fills `completions` from its beginning; how many, or negative when the CQ is broken.
  int Poll(absl::Span<ibv_wc> completions) {
    return ibv_poll_cq(queue_.get(), static_cast<int>(completions.size()), completions.data());
  }
  // Asks for a wake-up. False when one is already due, or asked for. After true, completions that
  // came before have to be looked for once more.
  bool Arm();
  // To be called when fd() is readable, which one Arm() makes it once.
  void TakeEvent();

 private:
  CompletionQueue() = default;

  CompletionChannelPtr channel_;
  CqPtr queue_;
  bool armed_ = false;
  unsigned unacknowledged_count_ = 0;
};

}  // namespace rdmafs::rdma
