// BufferPool: aligned blocks, counted references, a hard cap.
#include "transport/memory/buffer_pool.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace rdmafs {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

class BufferPoolTest : public testing::Test {
 protected:
  uint64_t used() const { return pool.statistics().used_count; }

  Arena arena;
  BufferPool pool{arena, {.cap_bytes = 8 * kMiB, .slab_bytes = 4 * kMiB}};
};

TEST_F(BufferPoolTest, APayloadIsPageAlignedAndHasItsHeadroom) {
  Buffer block = pool.Take();
  ASSERT_TRUE(block);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block.data()) % 4096, 0u);
  EXPECT_EQ(block.size(), kMiB);
  EXPECT_EQ(block.headroom(), 4096u);
  // All of it is ours to write.
  std::fill_n(block.data() - block.headroom(), block.headroom() + block.size() + 4096,
              std::byte{1});
}

TEST_F(BufferPoolTest, BlocksDoNotOverlap) {
  std::vector<Buffer> blocks;
  std::set<std::byte*> starts;
  while (Buffer block = pool.Take()) {
    starts.insert(block.data() - block.headroom());
    blocks.push_back(std::move(block));
  }
  ASSERT_EQ(starts.size(), blocks.size());
  for (auto it = starts.begin(); std::next(it) != starts.end(); ++it) {
    EXPECT_TRUE(*std::next(it) - *it >= static_cast<ptrdiff_t>(kMiB + 8192));
  }
}

TEST_F(BufferPoolTest, ABlockComesBackWithItsLastReference) {
  Buffer first = pool.Take();
  Buffer second = first;
  EXPECT_EQ(used(), 1u);
  first = Buffer();
  EXPECT_EQ(used(), 1u);
  Buffer third = std::move(second);
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move): that is the point
  EXPECT_EQ(used(), 1u);
  third = Buffer();
  EXPECT_EQ(used(), 0u);
}

TEST_F(BufferPoolTest, TheBlockReturnedLastIsHandedOutFirst) {
  Buffer first = pool.Take(), second = pool.Take();
  const std::byte* warm = first.data();
  second = Buffer();
  first = Buffer();
  EXPECT_EQ(pool.Take().data(), warm);
}

TEST_F(BufferPoolTest, AtItsCapThePoolIsEmptyAndCountsIt) {
  std::vector<Buffer> blocks;
  while (Buffer block = pool.Take()) blocks.push_back(std::move(block));
  const BufferPool::Statistics statistics = pool.statistics();
  EXPECT_LE(statistics.size_bytes, statistics.cap_bytes);
  EXPECT_EQ(statistics.used_count, blocks.size());
  EXPECT_EQ(statistics.block_count, blocks.size());
  EXPECT_EQ(statistics.used_count_peak, blocks.size());
  EXPECT_EQ(statistics.empty_count, 1u);
  EXPECT_EQ(arena.size_bytes(), statistics.size_bytes);
}

TEST_F(BufferPoolTest, AWaiterIsWokenOnceWhenABlockComesBack) {
  std::vector<Buffer> blocks;
  while (Buffer block = pool.Take()) blocks.push_back(std::move(block));
  int woken = 0;
  pool.WhenAvailable([&] { ++woken; });
  EXPECT_EQ(woken, 0);
  blocks.pop_back();
  EXPECT_EQ(woken, 1);
  blocks.pop_back();
  EXPECT_EQ(woken, 1);
  pool.WhenAvailable([&] { ++woken; });  // there is one now
  EXPECT_EQ(woken, 2);
}

TEST_F(BufferPoolTest, OneBlockIsAlwaysAllowed) {
  BufferPool small(arena, {.cap_bytes = 4096});
  Buffer block = small.Take();
  EXPECT_TRUE(block);
}

TEST_F(BufferPoolTest, AnyThreadMayDropTheLastReference) {
  constexpr int kRounds = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        Buffer block = pool.Take();
        if (!block) continue;
        block.data()[0] = std::byte{1};
        Buffer copy = block;
        std::swap(copy, block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(used(), 0u);
}

}  // namespace
}  // namespace rdmafs
