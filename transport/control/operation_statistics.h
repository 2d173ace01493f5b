// OperationStatistics: how often each operation ran, failed, and how long it took.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "transport/base/check.h"
#include "transport/base/clock.h"
#include "transport/base/counter.h"

namespace rdmafs {

// Log-linear buckets: 64 ns wide up to 1,024 ns, then 16 to each power of two (each bucket is at
// most 1/16 of its value wide), up to 137 s; what is longer counts in the last.
namespace latency_buckets {

inline constexpr int kUnitBits = 6;
inline constexpr int kSubBits = 4;
inline constexpr int kTopBit = 36;  // the highest power of two that is told apart
inline constexpr size_t kCount = size_t{kTopBit - kUnitBits - kSubBits + 2} << kSubBits;

constexpr size_t IndexOf(Nanoseconds latency) {
  const uint64_t units = latency <= 0 ? 0 : static_cast<uint64_t>(latency) >> kUnitBits;
  if (units < (1u << kSubBits)) return units;
  // 0 for the first one above the linear part.
  const int octave = std::bit_width(units) - 1 - kSubBits;
  const size_t index = (static_cast<size_t>(octave + 1) << kSubBits) + ((units >> octave) & 15);
  return index < kCount ? index : kCount - 1;
}

// The first latency that is too long for the bucket.
constexpr Nanoseconds EndOf(size_t index) {
  const size_t row = index >> kSubBits;
  const uint64_t column = index & 15;
  if (row == 0) return static_cast<Nanoseconds>((column + 1) << kUnitBits);
  return static_cast<Nanoseconds>((16 + column + 1) << (row - 1 + kUnitBits));
}

}  // namespace latency_buckets

// What was counted of one operation, all shards together. A value; owned by one thread.
class OperationSummary {
 public:
  uint64_t count() const { return count_; }
  uint64_t error_count() const { return error_count_; }
  Nanoseconds max() const { return max_; }
  // The latency that `permille` of 1,000 calls did not exceed: the end of its bucket (so at most
  // 1/16 too high), never more than max(). 0 when there were no calls.
  Nanoseconds Percentile(int permille) const;
  void Merge(const OperationSummary& other);

 private:
  friend class OperationStatistics;
  uint64_t count_ = 0, error_count_ = 0;
  Nanoseconds max_ = 0;
  std::array<uint64_t, latency_buckets::kCount> buckets_{};
};

// One shard's counters. Record() is called by that shard's thread only; reading is thread-safe,
// takes no lock and may be a call or two behind.
class OperationStatistics {
 public:
  explicit OperationStatistics(size_t operation_count);

  // Counts one finished call of operation `index` (< operation_count). A few nanoseconds: plain
  // loads and stores, as there is one writer.
  void Record(size_t index, Nanoseconds latency, bool error) {
    DCHECK(index < operation_count_);
    Counters& counters = counters_[index];
    AddAsOnlyWriter(counters.buckets[latency_buckets::IndexOf(latency)]);
    if (error) AddAsOnlyWriter(counters.error_count);
    if (latency > counters.max.load(std::memory_order_relaxed)) {
      counters.max.store(latency, std::memory_order_relaxed);
    }
  }

  size_t operation_count() const { return operation_count_; }
  // Adds what this shard counted of operation `index` to `summary`. Any thread.
  void AddTo(size_t index, OperationSummary& summary) const;

 private:
  struct Counters {
    std::array<std::atomic<uint64_t>, latency_buckets::kCount> buckets{};
    std::atomic<uint64_t> error_count{0};
    std::atomic<Nanoseconds> max{0};
  };

  const size_t operation_count_;
  const std::unique_ptr<Counters[]> counters_;
};

}  // namespace rdmafs
