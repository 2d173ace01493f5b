#include "server/slot_memory.h"

#include <utility>

#include "transport/base/check.h"

namespace rdmafs::server {

Call* LateCall::Finish(std::unique_ptr<KeptReply> reply) {
  absl::MutexLock lock(&mutex_);
  DCHECK(!done_);
  done_ = true;
  reply_ = std::move(reply);
  return std::exchange(waiting_, nullptr);
}

bool LateCall::Wait(Call& replay) {
  absl::MutexLock lock(&mutex_);
  if (done_) return false;
  DCHECK(waiting_ == nullptr);
  waiting_ = &replay;
  return true;
}

bool LateCall::StopWaiting(Call& replay) {
  absl::MutexLock lock(&mutex_);
  if (waiting_ != &replay) return false;
  waiting_ = nullptr;
  return true;
}

bool LateCall::done() const {
  absl::MutexLock lock(&mutex_);
  return done_;
}

std::unique_ptr<KeptReply> LateCall::TakeReply() {
  absl::MutexLock lock(&mutex_);
  DCHECK(done_);
  return std::move(reply_);
}

}  // namespace rdmafs::server
