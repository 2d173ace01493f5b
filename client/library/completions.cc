#include "client/library/completions.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "transport/base/check.h"

namespace rdmafs::library {

Completions::Completions() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(event_.valid());
}

void Completions::Add(rdmafs_call* call, int64_t result, std::atomic<uint64_t>* under_way) {
  call->reserved_next = nullptr;
  call->reserved_result = result;
  absl::MutexLock lock(&mutex_);
  if (under_way != nullptr) under_way->fetch_sub(1, std::memory_order_relaxed);
  (last_ == nullptr ? first_ : last_->reserved_next) = call;
  last_ = call;
  if (++count_ == 1) CHECK(::eventfd_write(event_.get(), 1) == 0);
}

rdmafs_call* Completions::Take() {
  absl::MutexLock lock(&mutex_);
  rdmafs_call* call = first_;
  if (call == nullptr) return nullptr;
  first_ = call->reserved_next;
  if (first_ == nullptr) last_ = nullptr;
  eventfd_t value;
  if (--count_ == 0) CHECK(::eventfd_read(event_.get(), &value) == 0);
  return call;
}

int Completions::Process(int max) {
  int done = 0;
  while (done < max) {
    rdmafs_call* call = Take();
    if (call == nullptr) break;
    ++done;
    call->done(call, call->reserved_result);
  }
  return done;
}

uint64_t Completions::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

uint64_t Completions::CountWith(const std::atomic<uint64_t>& under_way) const {
  absl::MutexLock lock(&mutex_);
  return count_ + under_way.load(std::memory_order_relaxed);
}

}  // namespace rdmafs::library
