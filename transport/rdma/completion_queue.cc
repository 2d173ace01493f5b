#include "transport/rdma/completion_queue.h"

#include <fcntl.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"

namespace rdmafs::rdma {
namespace {

// Acknowledging takes a mutex (ibv_ack_cq_events(3)): done for many events at once.
constexpr unsigned kAcknowledgeEvery = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<CompletionQueue>> CompletionQueue::Create(ibv_context* device,
                                                                         int entry_count,
                                                                         unsigned vector) {
  std::unique_ptr<CompletionQueue> made(new CompletionQueue());
  made->channel_.reset(ibv_create_comp_channel(device));
  if (made->channel_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no completion channel: ", Errno(errno).ToString()));
  }
  fcntl(made->fd(), F_SETFL, fcntl(made->fd(), F_GETFL) | O_NONBLOCK);
  const int index =
      static_cast<int>(vector % static_cast<unsigned>(std::max(1, device->num_comp_vectors)));
  made->queue_.reset(ibv_create_cq(device, entry_count, nullptr, made->channel_.get(), index));
  if (made->queue_ == nullptr) {
    return absl::ResourceExhaustedError(absl::StrCat("no completion queue of ", entry_count,
                                                     " entries: ", Errno(errno).ToString()));
  }
  return made;
}

CompletionQueue::~CompletionQueue() {
  if (queue_ != nullptr && unacknowledged_count_ != 0)
    ibv_ack_cq_events(queue_.get(), unacknowledged_count_);
}

bool CompletionQueue::Arm() {
  if (armed_) return false;
  armed_ = ibv_req_notify_cq(queue_.get(), 0) == 0;
  return true;
}

void CompletionQueue::TakeEvent() {
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  if (ibv_get_cq_event(channel_.get(), &queue, &context) != 0) return;
  armed_ = false;
  if (++unacknowledged_count_ < kAcknowledgeEvery) return;
  ibv_ack_cq_events(queue_.get(), unacknowledged_count_);
  unacknowledged_count_ = 0;
}

}  // namespace rdmafs::rdma
