#include "transport/control/operation_statistics.h"

#include <algorithm>

namespace rdmafs {

OperationStatistics::OperationStatistics(size_t operation_count)
    : operation_count_(operation_count), counters_(std::make_unique<Counters[]>(operation_count)) {}

void OperationStatistics::AddTo(size_t index, OperationSummary& summary) const {
  DCHECK(index < operation_count_);
  const Counters& counters = counters_[index];
  for (size_t i = 0; i < latency_buckets::kCount; ++i) {
    const uint64_t count = counters.buckets[i].load(std::memory_order_relaxed);
    summary.buckets_[i] += count;
    summary.count_ += count;
  }
  summary.error_count_ += counters.error_count.load(std::memory_order_relaxed);
  summary.max_ = std::max(summary.max_, counters.max.load(std::memory_order_relaxed));
}

void OperationSummary::Merge(const OperationSummary& other) {
  for (size_t i = 0; i < latency_buckets::kCount; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  error_count_ += other.error_count_;
  max_ = std::max(max_, other.max_);
}

Nanoseconds OperationSummary::Percentile(int permille) const {
  if (count_ == 0) return 0;
  // Rounded up: the 99th of 100 calls is the one that 99 % did not exceed.
  const uint64_t rank = std::max<uint64_t>(
      1, static_cast<uint64_t>((static_cast<__uint128_t>(count_) * permille + 999) / 1000));
  uint64_t seen = 0;
  for (size_t i = 0; i < latency_buckets::kCount; ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::min(latency_buckets::EndOf(i), max_);
  }
  return max_;
}

}  // namespace rdmafs
