#include "transport/rdma/abandoned_attempts.h"

namespace rdmafs::rdma {

AbandonedAttempts::~AbandonedAttempts() {
  absl::MutexLock lock(&mutex_);
  for (Burial& burial : burials_) burial.thread.join();
}

void AbandonedAttempts::Add(Attempt attempt) {
  absl::MutexLock lock(&mutex_);
  burials_.remove_if([](Burial& burial) {
    if (!burial.done.load(std::memory_order_acquire)) return false;
    burial.thread.join();
    return true;
  });
  if (burials_.size() >= kMaxThreads) return;  // `attempt` is destroyed by our caller's thread
  Burial& burial = burials_.emplace_back();
  burial.thread = std::thread([&burial, dying = std::move(attempt)]() mutable {
    dying.Destroy();  // assignment would go in the wrong order
    burial.done.store(true, std::memory_order_release);
  });
}

}  // namespace rdmafs::rdma
