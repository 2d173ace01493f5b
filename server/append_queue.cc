#include "server/append_queue.h"

#include "server/call.h"

namespace rdmafs::server {

bool AppendQueue::Enter(Call& call) {
  absl::MutexLock lock(&mutex_);
  if (!busy_) return busy_ = true;
  waiting_.Push(call);
  return false;
}

Call* AppendQueue::Leave() {
  absl::MutexLock lock(&mutex_);
  WorkItem* next = waiting_.Pop();
  busy_ = next != nullptr;
  return static_cast<Call*>(next);
}

}  // namespace rdmafs::server
