#include "client/stack.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/client/read_ahead_rig.h"

namespace rdmafs {
namespace {

TEST(WantsReadAhead, OnAndOffAreWhatTheySay) {
  EXPECT_TRUE(WantsReadAhead(ReadAheadMode::kOn, {.kernel_reads_ahead = true}));
  EXPECT_FALSE(WantsReadAhead(ReadAheadMode::kOff, {.kernel_reads_ahead = false}));
}

TEST(WantsReadAhead, AutoIsOnWhereTheKernelDoesNotReadAhead) {
  EXPECT_TRUE(WantsReadAhead(ReadAheadMode::kAuto, {.kernel_reads_ahead = false}));
}

TEST(WantsReadAhead, AutoIsOnWhereARoundTripIsLongerThanTheKernelsWindowLasts) {
  // 128 KiB last 131 microseconds at 1 GB/s.
  ReadAheadSituation situation{.kernel_window_bytes = 128 * 1024,
                               .bytes_per_second = 1'000'000'000};
  situation.round_trip = 130 * kMicrosecond;
  EXPECT_FALSE(WantsReadAhead(ReadAheadMode::kAuto, situation));
  situation.round_trip = 133 * kMicrosecond;
  EXPECT_TRUE(WantsReadAhead(ReadAheadMode::kAuto, situation));
  situation.kernel_window_bytes *= 8;
  EXPECT_FALSE(WantsReadAhead(ReadAheadMode::kAuto, situation));
}

TEST(WantsReadAhead, AutoIsOffWhereTheKernelReadsAheadAndTheRoundTripIsNotKnown) {
  EXPECT_FALSE(WantsReadAhead(ReadAheadMode::kAuto, {}));
}

TEST(Stack, WithoutReadAheadTheTopIsTheRemoteFileSystemItself) {
  ReadAheadRig rig({.read_ahead = {.mode = ReadAheadMode::kOff}});
  EXPECT_EQ(&rig.top(), rig.remotes[0].get());
  EXPECT_EQ(rig.stacks[0].read_ahead(), nullptr);
}

TEST(Stack, ShardsShareTheTotalWhichIsNoMoreThanHalfOfTheirPools) {
  const ReadAheadOptions options{.max_total_bytes = 32 << 20};
  const BufferPool::Options pool{.cap_bytes = 24 << 20};
  EXPECT_EQ(SharedReadAhead(options, pool, 1).max_memory_bytes, uint64_t{12} << 20);
  EXPECT_EQ(SharedReadAhead(options, pool, 2).max_memory_bytes, uint64_t{24} << 20);
  EXPECT_EQ(SharedReadAhead(options, pool, 4).max_memory_bytes, uint64_t{32} << 20);
}

TEST(Stack, DataFetchedAheadTakeNoMoreThanHalfOfThePool) {
  ReadAheadRig rig(
      {.shard_count = 2, .read_ahead = {.mode = ReadAheadMode::kOn}, .pool_bytes = 16 << 20});
  rig.Make("f", 32 << 20);
  const OpenId id = rig.Open("f");
  for (uint64_t i = 0; i < 400; ++i) {
    ASSERT_TRUE(rig.ReadsRight("f", id, i * 65536, 65536, i % 2));
    ASSERT_LE(rig.read_ahead.memory_bytes(), uint64_t{8} << 20);
  }
  EXPECT_GT(rig.statistics(0).hits + rig.statistics(1).hits, 390u);
}

TEST(InodeVersions, AChangeIsUnderWayFromItsBeginningToItsEnd) {
  ContentVersion content;
  const auto before = content.version();
  content.BeginChange();
  content.BeginChange();
  EXPECT_NE(content.version(), before);
  content.EndChange();
  EXPECT_TRUE(ContentVersion::ChangeUnderWay(content.version()));
  content.EndChange();
  EXPECT_FALSE(ContentVersion::ChangeUnderWay(content.version()));
  EXPECT_NE(content.version(), before);
}

TEST(InodeVersions, NoVersionComesTwiceThoughManyThreadsChangeTheContent) {
  ContentVersion content;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 2000; ++k) {
        const auto before = content.version();
        content.BeginChange();
        content.EndChange();
        if (content.version() == before) ADD_FAILURE();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(ContentVersion::ChangeUnderWay(content.version()));
}

TEST(InodeVersions, OnlyShardsThatAskedHearOfARelease) {
  InodeVersions versions;
  std::vector<OpenId> first, second;
  const size_t a = versions.AddShard([&](OpenId id) { first.push_back(id); });
  versions.AddShard([&](OpenId id) { second.push_back(id); });
  versions.AddOpen(7, MemoryFileSystem::HandleOf("f"), 0);
  ASSERT_NE(versions.Find(7, a).inode, nullptr);
  versions.RemoveOpen(7);
  versions.RemoveOpen(7);
  EXPECT_EQ(first, std::vector<OpenId>{7});
  EXPECT_TRUE(second.empty());
  EXPECT_EQ(versions.Find(7, a).inode, nullptr);
  EXPECT_FALSE(versions.any_open());
}

TEST(InodeVersions, AShardsPlaceIsUsedAgain) {
  InodeVersions versions;
  for (size_t i = 0; i < InodeVersions::kMaxShards; ++i) versions.AddShard([](OpenId) {});
  versions.RemoveShard(5);
  EXPECT_EQ(versions.AddShard([](OpenId) {}), 5u);
}

TEST(InodeVersions, OpenFilesOfOneInodeShareWhatIsKnownOfIt) {
  InodeVersions versions;
  const size_t shard = versions.AddShard([](OpenId) {});
  versions.AddOpen(1, MemoryFileSystem::HandleOf("f"), 0);
  versions.AddOpen(2, MemoryFileSystem::HandleOf("f"), 0);
  Attributes attributes{};
  attributes.size = 123;
  const auto before = versions.Find(1, shard).inode->content.version();
  versions.OnAttributes(MemoryFileSystem::HandleOf("f"), attributes);
  EXPECT_EQ(versions.Find(2, shard).inode->size, 123u);
  EXPECT_NE(versions.Find(2, shard).inode->content.version(), before);
}

}  // namespace
}  // namespace rdmafs
