// What OperationStatistics counts, and how exactly its percentiles tell it.
#include "transport/control/operation_statistics.h"

#include <gtest/gtest.h>

#include <thread>

namespace rdmafs {
namespace {

OperationSummary SummaryOf(const OperationStatistics& statistics, size_t index) {
  OperationSummary summary;
  statistics.AddTo(index, summary);
  return summary;
}

TEST(LatencyBuckets, EveryLatencyLiesInItsBucketWhichIsAtMostASixteenthWide) {
  for (Nanoseconds latency = 1; latency < 120 * kSecond; latency += 1 + latency / 7) {
    const size_t index = latency_buckets::IndexOf(latency);
    ASSERT_LT(latency, latency_buckets::EndOf(index));
    const Nanoseconds begin = index == 0 ? 0 : latency_buckets::EndOf(index - 1);
    ASSERT_GE(latency, begin);
    ASSERT_LE(latency_buckets::EndOf(index) - begin, std::max<Nanoseconds>(64, begin / 16));
  }
}

TEST(LatencyBuckets, TheEndsAreWithinTheArray) {
  EXPECT_EQ(latency_buckets::IndexOf(0), 0u);
  EXPECT_EQ(latency_buckets::IndexOf(-5), 0u);
  EXPECT_EQ(latency_buckets::IndexOf(INT64_MAX), latency_buckets::kCount - 1);
}

TEST(OperationStatistics, AnOperationThatNeverRanIsAllZero) {
  OperationStatistics statistics(2);
  statistics.Record(1, kMillisecond, false);
  const OperationSummary summary = SummaryOf(statistics, 0);
  EXPECT_EQ(summary.count(), 0u);
  EXPECT_EQ(summary.Percentile(990), 0);
  EXPECT_EQ(summary.max(), 0);
}

TEST(OperationStatistics, CountsErrorsBesideAllCalls) {
  OperationStatistics statistics(1);
  statistics.Record(0, 10, false);
  statistics.Record(0, 10, true);
  statistics.Record(0, 10, true);
  EXPECT_EQ(SummaryOf(statistics, 0).count(), 3u);
  EXPECT_EQ(SummaryOf(statistics, 0).error_count(), 2u);
}

TEST(OperationStatistics, PercentilesAreAtMostASixteenthTooHighAndNeverMoreThanTheMaximum) {
  OperationStatistics statistics(1);
  for (int i = 1; i <= 1000; ++i) statistics.Record(0, i * kMicrosecond, false);
  const OperationSummary summary = SummaryOf(statistics, 0);
  for (int permille : {1, 10, 500, 900, 990, 999, 1000}) {
    const Nanoseconds exact = permille * kMicrosecond;
    EXPECT_GE(summary.Percentile(permille), exact);
    EXPECT_LE(summary.Percentile(permille), exact + exact / 16 + 64);
  }
  EXPECT_EQ(summary.Percentile(1000), summary.max());
  EXPECT_EQ(summary.max(), 1000 * kMicrosecond);
}

TEST(OperationStatistics, SummariesOfShardsAddUp) {
  OperationStatistics fast(1), slow(1);
  for (int i = 0; i < 90; ++i) fast.Record(0, kMicrosecond, false);
  for (int i = 0; i < 10; ++i) slow.Record(0, kMillisecond, true);
  OperationSummary together = SummaryOf(fast, 0);
  together.Merge(SummaryOf(slow, 0));
  EXPECT_EQ(together.count(), 100u);
  EXPECT_EQ(together.error_count(), 10u);
  EXPECT_LT(together.Percentile(900), 2 * kMicrosecond);
  EXPECT_EQ(together.Percentile(910), kMillisecond);
}

TEST(OperationStatistics, ReadingWhileTheShardRecordsSeesNoMoreThanItRecorded) {
  constexpr uint64_t kCalls = 100000;
  OperationStatistics statistics(1);
  std::thread shard([&] {
    for (uint64_t i = 0; i < kCalls; ++i) statistics.Record(0, static_cast<Nanoseconds>(i), false);
  });
  uint64_t last = 0;
  while (last < kCalls) {
    const uint64_t seen = SummaryOf(statistics, 0).count();
    ASSERT_GE(seen, last);
    ASSERT_LE(seen, kCalls);
    last = seen;
    std::this_thread::yield();
  }
  shard.join();
}

}  // namespace
}  // namespace rdmafs
