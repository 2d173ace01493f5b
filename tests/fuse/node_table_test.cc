// NodeTable, SlotTable, OpenFiles and LockWaits: what the shards share.
#include "fuse/node_table.h"

#include <gtest/gtest.h>

#include <thread>

#include "fuse/lock_waits.h"
#include "fuse/open_files.h"

namespace rdmafs::fuse {
namespace {

wire::FileHandle Handle(std::string_view bytes) {
  wire::FileHandle handle;
  handle.size_bytes = static_cast<uint16_t>(bytes.size());
  std::memcpy(handle.bytes.data(), bytes.data(), bytes.size());
  return handle;
}

class NodeTableTest : public ::testing::Test {
 protected:
  NodeTable table_{Handle("root"), 4};
};

TEST_F(NodeTableTest, TheRootIsNodeOneAndIsNeverForgotten) {
  EXPECT_EQ(table_.Find(1)->handle, Handle("root"));
  EXPECT_FALSE(table_.Forget(1, 1000).has_value());
  EXPECT_NE(table_.Find(1), nullptr);
}

TEST_F(NodeTableTest, TheSameHandleIsTheSameNode) {
  auto first = table_.Remember(Handle("a")), second = table_.Remember(Handle("a"));
  EXPECT_EQ(first->node, second->node);
  EXPECT_EQ(first->generation, second->generation);
  EXPECT_NE(table_.Remember(Handle("b"))->node, first->node);
}

TEST_F(NodeTableTest, HandlesThatDifferInLengthOnlyAreTwoObjects) {
  EXPECT_NE(table_.Remember(Handle(std::string_view("a\0", 2)))->node,
            table_.Remember(Handle("a"))->node);
}

TEST_F(NodeTableTest, ANodeGoesWithTheLastOfItsLookups) {
  const uint64_t id = table_.Remember(Handle("a"))->node->id;
  table_.Remember(Handle("a"));
  EXPECT_FALSE(table_.Forget(id, 1).has_value());
  EXPECT_NE(table_.Find(id), nullptr);
  EXPECT_EQ(table_.Forget(id, 1), Handle("a"));
  EXPECT_EQ(table_.Find(id), nullptr);
}

TEST_F(NodeTableTest, AnIdThatIsUsedAgainHasAnotherGeneration) {
  auto old = table_.Remember(Handle("a"));
  const uint64_t id = old->node->id, generation = old->generation;
  table_.Forget(id, 1);
  auto fresh = table_.Remember(Handle("b"));
  EXPECT_EQ(fresh->node->id, id);
  EXPECT_NE(fresh->generation, generation);
}

TEST_F(NodeTableTest, ForgettingMoreThanWasLookedUpForgetsOnce) {
  const uint64_t id = table_.Remember(Handle("a"))->node->id;
  EXPECT_TRUE(table_.Forget(id, 99).has_value());
  EXPECT_FALSE(table_.Forget(id, 1).has_value());
}

TEST_F(NodeTableTest, IdsThatWereNeverGivenFindNothing) {
  for (uint64_t id : {uint64_t{0}, uint64_t{2}, uint64_t{1} << 40, ~uint64_t{0}}) {
    EXPECT_EQ(table_.Find(id), nullptr);
    EXPECT_FALSE(table_.Forget(id, 1).has_value());
  }
}

TEST_F(NodeTableTest, AFullTableRefusesAndTakesAgainAfterAForget) {
  std::vector<uint64_t> ids;
  for (const char* name : {"a", "b", "c"}) ids.push_back(table_.Remember(Handle(name))->node->id);
  EXPECT_FALSE(table_.Remember(Handle("d")).has_value());
  EXPECT_TRUE(table_.Remember(Handle("a")).has_value());
  table_.Forget(ids[1], 1);
  EXPECT_TRUE(table_.Remember(Handle("d")).has_value());
}

TEST(NodeTable, LookupsAndForgetsOfSeveralThreadsComeOutEven) {
  NodeTable table(Handle("root"));
  constexpr int kThreads = 4, kRounds = 20'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&table, t] {
      for (int i = 0; i < kRounds; ++i) {
        const std::string name = std::to_string((i * (t + 1)) % 64);
        auto found = table.Remember(Handle(name));
        ASSERT_EQ(found->node->handle, Handle(name));
        table.Forget(found->node->id, 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table.count(), 1u);
}

TEST(SlotTable, ManySlotsKeepTheirAddresses) {
  SlotTable<uint64_t> table;
  uint64_t index;
  ASSERT_TRUE(table.Take(index));
  uint64_t* const first = table.Find(index);
  for (uint64_t i = 1; i < 3 * SlotTable<uint64_t>::kSlotsPerChunk; ++i)
    ASSERT_TRUE(table.Take(index));
  EXPECT_EQ(table.Find(0), first);
  EXPECT_EQ(table.Find(index), table.Find(index));
  EXPECT_NE(table.Find(index), nullptr);
}

wire::OpenId Find(OpenFiles& files, uint64_t number) {
  Node* dropping;
  return files.Find(number, dropping);
}

TEST(OpenFiles, ANumberNamesItsFileUntilItIsRemoved) {
  OpenFiles files;
  const uint64_t number = *files.Add(77);
  EXPECT_NE(number, 0u);
  EXPECT_EQ(Find(files, number), 77u);
  EXPECT_EQ(files.Remove(number), 77u);
  EXPECT_EQ(Find(files, number), 0u);
  EXPECT_EQ(files.Remove(number), 0u);
}

TEST(OpenFiles, WhoFindsAFileFirstIsToldWhosePagesItsOpenDropped) {
  OpenFiles files;
  Node node;
  const uint64_t number = *files.Add(77, &node);
  Node* dropping;
  EXPECT_EQ(files.Find(number, dropping), 77u);
  EXPECT_EQ(dropping, &node);
  EXPECT_EQ(files.Find(number, dropping), 77u);
  EXPECT_EQ(dropping, nullptr);
}

TEST(OpenFiles, NoMoreThanTheBoundAreOpen) {
  OpenFiles files(2);
  const uint64_t first = *files.Add(1);
  ASSERT_TRUE(files.Add(2).has_value());
  EXPECT_FALSE(files.Add(3).has_value());
  files.Remove(first);
  EXPECT_TRUE(files.Add(3).has_value());
}

TEST(OpenFiles, NumbersThatWereNeverGivenNameNothing) {
  OpenFiles files;
  for (uint64_t number : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}})
    EXPECT_EQ(Find(files, number), 0u);
}

TEST(LockWaits, AnInterruptFindsTheWait) {
  LockWaits waits;
  EXPECT_TRUE(waits.Add(5, {.shard = 2, .token = 9}));
  const auto found = waits.Interrupt(5);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->shard, 2u);
  EXPECT_EQ(found->token, 9u);
}

TEST(LockWaits, AnInterruptThatComesFirstIsNotLost) {
  LockWaits waits;
  EXPECT_FALSE(waits.Interrupt(5).has_value());
  EXPECT_FALSE(waits.Add(5, {}));
}

TEST(LockWaits, AnInterruptCountsForOneWaitOnly) {
  LockWaits waits;
  EXPECT_FALSE(waits.Interrupt(5).has_value());
  EXPECT_FALSE(waits.Add(5, {}));
  waits.Remove(5);
  EXPECT_TRUE(waits.Add(5, {}));
}

TEST(LockWaits, AWaitThatIsOverIsNotFound) {
  LockWaits waits;
  EXPECT_TRUE(waits.Add(5, {}));
  waits.Remove(5);
  EXPECT_FALSE(waits.Interrupt(5).has_value());
}

TEST(LockWaits, InterruptedRequestsThatDoNotWaitForALockAreTakenOnce) {
  LockWaits waits;
  EXPECT_FALSE(waits.Interrupt(5).has_value());
  EXPECT_FALSE(waits.Interrupt(6).has_value());
  EXPECT_EQ(waits.TakeInterrupted(), (std::vector<uint64_t>{5, 6}));
  EXPECT_TRUE(waits.TakeInterrupted().empty());
}

TEST(LockWaits, OnlyTheLastEarlyInterruptsAreRemembered) {
  LockWaits waits;
  for (uint64_t unique = 1; unique <= LockWaits::kEarlyCount + 1; ++unique) {
    EXPECT_FALSE(waits.Interrupt(unique).has_value());
  }
  EXPECT_TRUE(waits.Add(1, {}));
  EXPECT_FALSE(waits.Add(2, {}));
}

}  // namespace
}  // namespace rdmafs::fuse
