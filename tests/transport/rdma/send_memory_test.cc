// FixedQueue and SendRing: what the send queue keeps its entries and its bytes in.
#include <gtest/gtest.h>

#include <memory>
#include <set>

#include "transport/rdma/fixed_queue.h"
#include "transport/rdma/send_queue.h"
#include "transport/rdma/send_ring.h"

namespace rdmafs::rdma {
namespace {

TEST(FixedQueue, EntriesComeOutInOrderAndKeepTheirNumbersAcrossTheEnd) {
  FixedQueue<int> queue(3);
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(queue.next_number(), static_cast<uint64_t>(round) * 3);
    for (int i = 0; i < 3; ++i) queue.Push(round * 3 + i);
    EXPECT_TRUE(queue.full());
    EXPECT_EQ(queue.at(static_cast<uint64_t>(round) * 3 + 1), round * 3 + 1);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.Pop(), round * 3 + i);
    EXPECT_TRUE(queue.empty());
  }
}

TEST(FixedQueue, WhatIsPoppedIsNotKeptAlive) {
  FixedQueue<std::shared_ptr<int>> queue(2);
  auto entry = std::make_shared<int>(1);
  queue.Push(entry);
  queue.Pop();
  EXPECT_EQ(entry.use_count(), 1);
}

class SendRingTest : public testing::Test {
 protected:
  static BufferPool::Options Options() {
    BufferPool::Options options;
    options.payload_bytes = 8192;
    options.headroom_bytes = options.tailroom_bytes = 0;
    options.cap_bytes = size_t{2} << 20;
    return options;
  }
  SendRing Make(size_t blocks) {
    std::vector<SendRing::Block> taken;
    for (size_t i = 0; i < blocks; ++i)
      taken.push_back({pool_.Take(), static_cast<uint32_t>(100 + i)});
    return SendRing(std::move(taken));
  }
  Arena arena_;
  BufferPool pool_{arena_, Options()};
};

TEST_F(SendRingTest, PiecesDoNotOverlapAndCarryTheirBlocksKey) {
  SendRing ring = Make(2);
  const SendRing::Space first = ring.Take(100), second = ring.Take(100), third = ring.Take(8000);
  EXPECT_GE(second.data, first.data + 100);
  EXPECT_EQ(first.lkey, 100u);
  EXPECT_EQ(second.lkey, 100u);
  EXPECT_EQ(third.lkey, 101u);
  EXPECT_FALSE(ring.Fits(8192));
}

TEST_F(SendRingTest, ABlockIsUsedAgainWhenAllBeforeTheOldestIsReleased) {
  SendRing ring = Make(3);
  for (uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(ring.Fits(5000));
    ring.Take(5000);
    EXPECT_EQ(ring.current(), i);
    if (i >= 2) {
      EXPECT_FALSE(ring.Fits(5000)) << "two older blocks are in use";
      ring.ReleaseBefore(i - 1);
    }
  }
  ring.ReleaseAll();
  EXPECT_TRUE(ring.Fits(8192));
}

// The bound that SendQueue relies on: fewer than kSignalEvery SENDs have no signal, wherever in a
// block the first of them stands, and there must be room for the one that has.
TEST_F(SendRingTest, AllSendsUpToTheNextSignalFit) {
  constexpr size_t kLargest = sizeof(wire::MessageHeader) + wire::kMaxBodyBytes;
  for (size_t before : {size_t{1}, size_t{2048}, size_t{4096}, size_t{6200}, size_t{8192}}) {
    SendRing ring = Make(kSendRingBlocks);
    ring.Take(before);
    for (uint32_t i = 0; i < kSignalEvery; ++i) {
      ASSERT_TRUE(ring.Fits(kLargest)) << before << " " << i;
      ring.Take(kLargest);
    }
  }
}

}  // namespace
}  // namespace rdmafs::rdma
