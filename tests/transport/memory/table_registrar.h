// TableRegistrar: a MemoryRegistrar that keeps a table instead of pinning pages.
#pragma once

#include <functional>
#include <map>

#include "absl/synchronization/mutex.h"
#include "transport/memory/memory_region_cache.h"

namespace rdmafs {

// Thread-safe. Keys count up from 1; a rkey is its lkey + 1,000,000.
class TableRegistrar final : public MemoryRegistrar {
 public:
  struct Entry {
    absl::Span<std::byte> memory;
    MemoryAccess access;
  };

  Result<Registration> Register(absl::Span<std::byte> memory, MemoryAccess access) override {
    if (during_register) during_register();
    absl::MutexLock lock(&mutex_);
    ++attempts_;
    if (!error_.ok()) return error_;
    if (entries_.size() >= limit_) return Errno(ENOMEM);
    const uint32_t key = ++last_key_;
    entries_[key] = {memory, access};
    return Registration{{key, key + 1'000'000, reinterpret_cast<void*>(uintptr_t{key})}};
  }
  void Deregister(const Registration& registration) override {
    absl::MutexLock lock(&mutex_);
    CHECK(entries_.erase(
              static_cast<uint32_t>(reinterpret_cast<uintptr_t>(registration.keys.region))) == 1);
  }

  void FailWith(Errno error) {
    absl::MutexLock lock(&mutex_);
    error_ = error;
  }
  void LimitTo(size_t count) {
    absl::MutexLock lock(&mutex_);
    limit_ = count;
  }
  size_t count() const {
    absl::MutexLock lock(&mutex_);
    return entries_.size();
  }
  size_t attempts() const {
    absl::MutexLock lock(&mutex_);
    return attempts_;
  }
  Entry at(uint32_t lkey) const {
    absl::MutexLock lock(&mutex_);
    return entries_.at(lkey);
  }

  std::function<void()> during_register;  // set before use; runs without any lock

 private:
  mutable absl::Mutex mutex_;
  std::map<uint32_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  Errno error_ ABSL_GUARDED_BY(mutex_);
  size_t limit_ ABSL_GUARDED_BY(mutex_) = SIZE_MAX;
  size_t attempts_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t last_key_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs
