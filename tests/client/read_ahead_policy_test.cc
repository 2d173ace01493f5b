#include "client/read_ahead_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace rdmafs {
namespace {

constexpr uint64_t kKi = 1024, kMi = 1024 * 1024;

// A reader of a file whose fetches all come at once: counts what was fetched, used and wasted, by
// byte.
class Reader {
 public:
  explicit Reader(ReadAheadPolicy::Options options = {}) : policy(options) {}

  ReadAheadPolicy::StreamId Read(uint64_t offset, uint32_t size) {
    const ReadAheadPolicy::StreamId stream = policy.OnRead(offset, size);
    demanded += size;
    Use(offset, size);
    while (const auto over = policy.TakeEnded()) ended.push_back(over);
    while (auto fetch = policy.Next(stream)) {
      last_fetches.push_back(*fetch);
      fetched += fetch->size;
      have[fetch->offset] = std::max(have[fetch->offset], fetch->offset + fetch->size);
    }
    return stream;
  }

  // Bytes of [offset, offset + size) that were there; they count as used once.
  void Use(uint64_t offset, uint32_t size) {
    const uint64_t end = offset + size;
    auto piece = have.upper_bound(offset);
    if (piece != have.begin()) --piece;
    while (piece != have.end() && piece->first < end) {
      const auto [from, to] = *piece;
      if (to <= offset) {
        ++piece;
        continue;
      }
      const uint64_t first = std::max(from, offset), last = std::min(to, end);
      used += last - first;
      piece = have.erase(piece);
      if (from < first) have[from] = first;
      if (last < to) have[last] = to;
    }
  }
  uint64_t wasted() const { return fetched - used; }

  ReadAheadPolicy policy;
  std::vector<ReadAheadPolicy::Fetch> last_fetches;
  std::vector<ReadAheadPolicy::StreamId> ended;
  std::map<uint64_t, uint64_t> have;  // from, to
  uint64_t demanded = 0, fetched = 0, used = 0;
};

TEST(ReadAheadPolicy, NothingIsFetchedForASingleRead) {
  Reader reader;
  reader.Read(0, 64 * kKi);
  reader.Read(10 * kMi, 64 * kKi);
  EXPECT_EQ(reader.fetched, 0u);
}

TEST(ReadAheadPolicy, TheSecondSequentialReadStartsIt) {
  Reader reader;
  reader.Read(kMi, 64 * kKi);
  const auto stream = reader.Read(kMi + 64 * kKi, 64 * kKi);
  EXPECT_EQ(reader.policy.window(stream), 128 * kKi);
  ASSERT_EQ(reader.last_fetches.size(), 2u);
  EXPECT_EQ(reader.last_fetches[0].offset, kMi + 128 * kKi);
  EXPECT_EQ(reader.last_fetches[0].size, 64 * kKi);
}

TEST(ReadAheadPolicy, SequentialReadsDoubleTheWindowUpToItsMaximum) {
  Reader reader;
  std::vector<uint64_t> windows;
  for (uint64_t i = 0; i < 512; ++i) {
    const uint64_t window = reader.policy.window(reader.Read(i * 64 * kKi, 64 * kKi));
    if (window != 0 && (windows.empty() || windows.back() != window)) windows.push_back(window);
  }
  EXPECT_EQ(windows, (std::vector<uint64_t>{128 * kKi, 256 * kKi, 512 * kKi, kMi, 2 * kMi, 4 * kMi,
                                            8 * kMi}));
}

TEST(ReadAheadPolicy, TheWindowKeepsToAnotherMaximum) {
  Reader reader({.max_window_bytes = 300 * kKi});
  for (uint64_t i = 0; i < 100; ++i) {
    const auto stream = reader.Read(i * 64 * kKi, 64 * kKi);
    ASSERT_LE(reader.policy.window(stream), 300 * kKi);
    ASSERT_LE(reader.fetched - reader.used, 300 * kKi);
  }
  EXPECT_GT(reader.fetched, 0u);
}

TEST(ReadAheadPolicy, ReadsLargerThanTheMaximumAreNotFetchedAhead) {
  Reader reader({.max_window_bytes = 32 * kKi});
  for (uint64_t i = 0; i < 100; ++i) reader.Read(i * 64 * kKi, 64 * kKi);
  EXPECT_EQ(reader.fetched, 0u);
}

TEST(ReadAheadPolicy, AFullWindowIsFetchedInPiecesThatAreWholeReads) {
  for (const uint32_t size : {4096u, 65536u, 100'000u, 131072u, 1048576u}) {
    Reader reader;
    ReadAheadPolicy::StreamId stream = 0;
    for (uint64_t i = 0; i * size < 64 * kMi; ++i) {
      reader.last_fetches.clear();
      stream = reader.Read(i * size, size);
      for (const auto& fetch : reader.last_fetches) {
        ASSERT_EQ(fetch.offset % size, 0u);
        ASSERT_EQ(fetch.size % size, 0u);
        ASSERT_LE(fetch.size, kMi);
      }
    }
    ASSERT_EQ(reader.policy.window(stream), 8 * kMi) << size;
    ASSERT_GE(reader.wasted(), 8 * kMi * 13 / 16) << "so much is kept in flight; reads of " << size;
    ASSERT_LE(reader.wasted(), 8 * kMi);
  }
}

TEST(ReadAheadPolicy, SmallReadsAreFetchedInPiecesOfAtLeast16Kilobytes) {
  Reader reader;
  for (uint64_t i = 0; i < 1000; ++i) reader.Read(i * 4096, 4096);
  for (const auto& fetch : reader.last_fetches) ASSERT_GE(fetch.size, 16 * kKi);
}

TEST(ReadAheadPolicy, AMissHalvesTheWindowAndTheNextOneQuartersIt) {
  Reader reader;
  ReadAheadPolicy::StreamId stream = 0;
  for (uint64_t i = 0; i < 64; ++i) stream = reader.Read(i * 64 * kKi, 64 * kKi);
  const uint64_t before = reader.policy.window(stream);
  reader.Read(500 * kMi, 4096);
  EXPECT_EQ(reader.policy.window(stream), before / 2);
  reader.Read(700 * kMi, 4096);
  EXPECT_EQ(reader.policy.window(stream), before / 4);
}

TEST(ReadAheadPolicy, OneMissNeverClosesTheWindowHoweverSmallItIs) {
  Reader reader;
  reader.Read(0, 4096);
  const auto stream = reader.Read(4096, 4096);
  for (uint64_t i = 1; i < 10; ++i) {
    reader.Read(i * 100 * kMi, 4096);
    EXPECT_GE(reader.policy.window(stream), 4096u);
  }
}

TEST(ReadAheadPolicy, ASingleStrayReadDoesNotSlowTheStreamThatGoesOn) {
  Reader reader;
  ReadAheadPolicy::StreamId stream = 0;
  uint64_t i = 0;
  for (; i < 256; ++i) stream = reader.Read(i * 64 * kKi, 64 * kKi);
  const uint64_t before = reader.policy.window(stream);
  for (int round = 0; round < 50; ++round) {
    reader.Read((1000 + round * 37) * kMi, 4096);
    stream = reader.Read(i++ * 64 * kKi, 64 * kKi);
  }
  EXPECT_EQ(reader.policy.window(stream), before);
}

TEST(ReadAheadPolicy, SeveralInterleavedStreamsEachHaveTheirWindow) {
  Reader reader;
  constexpr uint64_t kStreams = 12;
  std::vector<ReadAheadPolicy::StreamId> streams(kStreams);
  for (uint64_t i = 0; i < 128; ++i) {
    for (uint64_t s = 0; s < kStreams; ++s) {
      streams[s] = reader.Read(s * 1024 * kMi + i * 64 * kKi, 64 * kKi);
    }
  }
  for (uint64_t s = 0; s < kStreams; ++s) EXPECT_GE(reader.policy.window(streams[s]), 4 * kMi) << s;
  EXPECT_GE(reader.used, reader.demanded * 98 / 100);
}

TEST(ReadAheadPolicy, MoreStreamsThanItFollowsStillCostNothing) {
  Reader reader({.max_window_bytes = kMi});
  for (uint64_t i = 0; i < 400; ++i) {
    for (uint64_t s = 0; s < 3 * ReadAheadPolicy::kMaxStreams; ++s) {
      reader.Read(s * 1024 * kMi + i * 64 * kKi, 64 * kKi);
    }
  }
  EXPECT_LE(reader.wasted() * 50, reader.demanded);
}

TEST(ReadAheadPolicy, BackwardReadsAreFetchedAheadToTheBeginningOfTheFile) {
  Reader reader;
  for (uint64_t i = 256; i-- > 0;) reader.Read(i * 64 * kKi, 64 * kKi);
  EXPECT_GE(reader.used, 252 * 64 * kKi);
  EXPECT_EQ(reader.wasted(), 0u);
}

TEST(ReadAheadPolicy, StridedReadsAreFetchedAhead) {
  for (const int64_t stride : {int64_t{256} * 1024, int64_t{1} << 20, -(int64_t{1} << 20)}) {
    Reader reader;
    uint64_t offset = stride < 0 ? 400 * kMi : 0;
    for (int i = 0; i < 256; ++i, offset += static_cast<uint64_t>(stride))
      reader.Read(offset, 64 * kKi);
    EXPECT_GE(reader.used, 250 * 64 * kKi) << stride;
    EXPECT_LE(reader.wasted(), 32 * 64 * kKi) << stride;
  }
}

TEST(ReadAheadPolicy, AStrideOfAnyLengthFetchesNothingOutsideTheFile) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 1000; ++round) {
    Reader reader;
    const uint64_t offset = random(), stride = random();
    for (uint64_t i = 0; i < 5; ++i) reader.Read(offset + i * stride, 4096);
    for (const auto& fetch : reader.last_fetches) ASSERT_GE(static_cast<int64_t>(fetch.offset), 0);
  }
}

TEST(ReadAheadPolicy, RandomReadsFetchNothing) {
  Reader reader;
  std::mt19937_64 random(2);
  for (int i = 0; i < 20'000; ++i) reader.Read(random() % (1 << 24) * 4096, 4096);
  EXPECT_LE(reader.fetched * 1000, reader.demanded);
}

TEST(ReadAheadPolicy, RandomReadsWithShortRunsWasteAtMostTwoPercent) {
  std::mt19937_64 random(4);
  for (const uint32_t size : {4096u, 16384u, 65536u, 262144u}) {
    for (const uint64_t longest : {2u, 3u, 4u, 8u, 16u, 24u}) {
      Reader reader;
      for (int i = 0; i < 20'000;) {
        const uint64_t start = random() % (1 << 22) * size;
        const uint64_t length = 1 + random() % longest;
        for (uint64_t k = 0; k < length; ++k, ++i) reader.Read(start + k * size, size);
      }
      EXPECT_LE(reader.wasted() * 50, reader.demanded)
          << "reads of " << size << ", runs of up to " << longest << ", wasted "
          << reader.wasted() * 100.0 / reader.demanded << " %";
    }
  }
}

TEST(ReadAheadPolicy, RandomReadsWithGeometricRunsWasteAtMostTwoPercent) {
  std::mt19937_64 random(5);
  for (const double go_on : {0.5, 0.7, 0.8, 0.9}) {
    Reader reader;
    std::geometric_distribution<uint64_t> more(1 - go_on);
    for (int i = 0; i < 40'000;) {
      const uint64_t start = random() % (1 << 22) * 4096;
      const uint64_t length = 1 + more(random);
      for (uint64_t k = 0; k < length; ++k, ++i) reader.Read(start + k * 4096, 4096);
    }
    EXPECT_LE(reader.wasted() * 50, reader.demanded) << go_on;
  }
}

TEST(ReadAheadPolicy, AfterManyShortRunsALongStreamIsStillFetchedAhead) {
  Reader reader;
  std::mt19937_64 random(6);
  for (int i = 0; i < 1000; ++i) {
    const uint64_t start = random() % (1 << 20) * 65536;
    for (uint64_t k = 0; k < 4; ++k) reader.Read(start + k * 65536, 65536);
  }
  ASSERT_GT(reader.policy.required_run(), 2u);
  const uint64_t used_before = reader.used;
  for (uint64_t i = 0; i < 1000; ++i) reader.Read((uint64_t{1} << 50) + i * 65536, 65536);
  EXPECT_GE(reader.used - used_before, 950 * uint64_t{65536});
}

TEST(ReadAheadPolicy, StreamsThatEndWellMakeTheNextOnesStartEarlierAgain) {
  Reader reader;
  std::mt19937_64 random(7);
  for (int i = 0; i < 100; ++i) {
    const uint64_t start = random() % (1 << 20) * 65536;
    for (uint64_t k = 0; k < 4; ++k) reader.Read(start + k * 65536, 65536);
  }
  const uint32_t distrust = reader.policy.required_run();
  const uint64_t size = 3000 * uint64_t{65536};
  reader.policy.SetFileSize(size);
  for (int round = 0; round < 20; ++round) {
    for (uint64_t i = 0; i < 3000; ++i) reader.Read(i * 65536, 65536);
  }
  EXPECT_LT(reader.policy.required_run(), distrust);
}

TEST(ReadAheadPolicy, NothingIsFetchedThatBeginsAtOrBehindTheEndOfTheFile) {
  Reader reader;
  const uint64_t size = 10 * kMi + 12345;
  reader.policy.SetFileSize(size);
  for (uint64_t offset = 0; offset < size; offset += 64 * kKi) reader.Read(offset, 64 * kKi);
  uint64_t last = 0;
  for (const auto& fetch : reader.last_fetches) {
    ASSERT_LT(fetch.offset, size);
    last = std::max(last, fetch.offset + fetch.size);
  }
  EXPECT_GE(last, size) << "the end itself comes ahead too";
}

TEST(ReadAheadPolicy, AFileThatGrowsWhileItIsReadIsFetchedAsFarAsItGoes) {
  Reader reader;
  uint64_t size = 0, offset = 0;
  for (int round = 0; round < 100; ++round) {
    size += 5 * 64 * kKi;  // the writer
    reader.policy.SetFileSize(size);
    while (offset < size) {
      reader.Read(offset, 64 * kKi);
      offset += 64 * kKi;
    }
    reader.Read(offset, 64 * kKi);  // nothing there yet
    for (const auto& fetch : reader.last_fetches) ASSERT_LT(fetch.offset, size);
  }
  EXPECT_GE(reader.used * 2, reader.demanded);
  EXPECT_LE(reader.wasted() * 50, reader.demanded);
}

TEST(ReadAheadPolicy, ALatePartOfAParallelReaderDoesNotBreakTheStream) {
  Reader reader;
  std::mt19937_64 random(8);
  std::vector<uint64_t> order;
  for (uint64_t i = 0; i < 1024; ++i) order.push_back(i);
  for (size_t i = 0; i + 4 <= order.size(); i += 4) {
    std::shuffle(order.begin() + static_cast<ptrdiff_t>(i),
                 order.begin() + static_cast<ptrdiff_t>(i) + 4, random);
  }
  for (uint64_t i : order) reader.Read(i * 64 * kKi, 64 * kKi);
  EXPECT_GE(reader.used, reader.demanded * 9 / 10);
  EXPECT_LE(reader.policy.required_run(), 16u);
}

TEST(ReadAheadPolicy, StepsOverMoreThanAQuarterHalveTheWindow) {
  Reader reader;
  ReadAheadPolicy::StreamId stream = 0;
  for (uint64_t i = 0; i < 64; ++i) stream = reader.Read(i * 64 * kKi, 64 * kKi);
  const uint64_t before = reader.policy.window(stream);
  EXPECT_EQ(reader.Read(64 * 64 * kKi + before / 2, 64 * kKi), stream);
  EXPECT_EQ(reader.policy.window(stream), before / 2);
}

TEST(ReadAheadPolicy, WhatCouldNotBeFetchedIsSaidAgain) {
  ReadAheadPolicy policy({});
  policy.OnRead(0, 65536);
  const auto stream = policy.OnRead(65536, 65536);
  const auto fetch = policy.Next(stream);
  ASSERT_TRUE(fetch);
  policy.GiveBack(*fetch);
  const auto again = policy.Next(stream);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->offset, fetch->offset);
}

TEST(ReadAheadPolicy, AStreamThatEndsIsNamedOnce) {
  Reader reader;
  reader.Read(0, 65536);
  const auto stream = reader.Read(65536, 65536);
  for (uint64_t i = 1; i < 600; ++i) reader.Read(i * i * kMi, 4096);
  EXPECT_EQ(reader.ended, std::vector<ReadAheadPolicy::StreamId>{stream});
  EXPECT_EQ(reader.policy.window(stream), 0u);
}

TEST(ReadAheadPolicy, AfterAnInvalidationTheStreamStartsAnew) {
  Reader reader;
  for (uint64_t i = 0; i < 600; ++i) reader.Read(i * 65536, 65536);
  reader.policy.OnInvalidated();
  EXPECT_EQ(reader.policy.largest_window(), 0u);
  reader.last_fetches.clear();
  reader.have.clear();
  for (uint64_t i = 600; i < 664; ++i) reader.Read(i * 65536, 65536);
  ASSERT_FALSE(reader.last_fetches.empty());
  EXPECT_LT(reader.last_fetches[0].offset, 664 * 65536u) << "from where the reader is";
}

TEST(ReadAheadPolicy, AReaderWhoWritesInBetweenSoonFetchesNothing) {
  Reader reader;
  for (uint64_t i = 0; i < 2000; ++i) {
    reader.Read(i * 65536, 65536);
    reader.policy.OnInvalidated();
    reader.have.clear();
  }
  EXPECT_LE(reader.fetched * 50, reader.demanded);
}

}  // namespace
}  // namespace rdmafs
