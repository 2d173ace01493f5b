#include "server/grace_period.h"

#include <algorithm>

namespace rdmafs::server {

void GracePeriod::CountHolder(int change) {
  absl::MutexLock lock(&mutex_);
  holding_ += static_cast<uint64_t>(change);
  Store();
}

void GracePeriod::Reclaimed() {
  {
    absl::MutexLock lock(&mutex_);
    if (outstanding_ == 0) return;
    --outstanding_;
    Store();
    if (outstanding_ != 0) return;
  }
  Finish();
}

void GracePeriod::End() {
  {
    absl::MutexLock lock(&mutex_);
    outstanding_ = 0;
    Store();
  }
  Finish();
}

void GracePeriod::Freeze() {
  absl::MutexLock lock(&mutex_);
  frozen_ = true;
}

bool GracePeriod::Wait(Call& call, Call::Step next) {
  absl::MutexLock lock(&mutex_);
  if (!active()) return false;
  waiting_.emplace_back(&call, next);
  return true;
}

bool GracePeriod::StopWaiting(Call& call) {
  absl::MutexLock lock(&mutex_);
  return std::erase_if(waiting_, [&](const auto& waiting) { return waiting.first == &call; }) != 0;
}

void GracePeriod::Store() {
  if (!frozen_ && remember_) remember_(holding_ + outstanding_);
}

void GracePeriod::Finish() {
  std::vector<std::pair<Call*, Call::Step>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    active_.store(false, std::memory_order_release);
    waiting.swap(waiting_);
  }
  for (auto& [call, next] : waiting) call->Resume(next);
}

}  // namespace rdmafs::server
