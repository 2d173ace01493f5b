// SlotTable: numbered places with stable addresses, found by number without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace rdmafs::fuse {

// Thread-safe. A T is made with its slot, and used again by the next who takes it: T says itself
// whether it is in use, so that a stale or made-up number finds a T, or nothing, but never garbage.
template <typename T>
class SlotTable {
 public:
  static constexpr uint64_t kChunkCount = 1 << 14;
  static constexpr uint64_t kSlotsPerChunk = 1 << 10;

  // `max_count`: how many may be in use at once.
  explicit SlotTable(uint64_t max_count = kChunkCount * kSlotsPerChunk) : max_count_(max_count) {}
  ~SlotTable() {
    for (auto& chunk : chunks_) delete[] chunk.load(std::memory_order_relaxed);
  }
  SlotTable(const SlotTable&) = delete;
  SlotTable& operator=(const SlotTable&) = delete;

  // nullptr for a number that Take() never gave.
  T* Find(uint64_t index) const {
    if (index >= kChunkCount * kSlotsPerChunk) return nullptr;
    T* chunk = chunks_[index / kSlotsPerChunk].load(std::memory_order_acquire);
    return chunk == nullptr ? nullptr : &chunk[index % kSlotsPerChunk];
  }

  // Takes a slot: nullptr when all are in use. The lowest number that was never used, or the one
  // that was given back last.
  T* Take(uint64_t& index) {
    absl::MutexLock lock(&mutex_);
    if (free_.empty()) {
      if (next_ >= max_count_) return nullptr;
      index = next_++;
    } else {
      index = free_.back();
      free_.pop_back();
    }
    auto& chunk = chunks_[index / kSlotsPerChunk];
    if (chunk.load(std::memory_order_relaxed) == nullptr) {
      chunk.store(new T[kSlotsPerChunk], std::memory_order_release);
    }
    return &chunk.load(std::memory_order_relaxed)[index % kSlotsPerChunk];
  }
  void GiveBack(uint64_t index) {
    absl::MutexLock lock(&mutex_);
    free_.push_back(index);
  }

  // One more than the highest number ever taken: the bound of a walk over all.
  uint64_t limit() const {
    absl::MutexLock lock(&mutex_);
    return next_;
  }
  uint64_t used_count() const {
    absl::MutexLock lock(&mutex_);
    return next_ - free_.size();
  }

 private:
  const uint64_t max_count_;
  std::array<std::atomic<T*>, kChunkCount> chunks_{};

  mutable absl::Mutex mutex_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> free_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::fuse
