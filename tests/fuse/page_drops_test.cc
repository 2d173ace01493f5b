// PageDrops: the kernel is told on another thread, and who asked hears of it on its loop.
#include "fuse/page_drops.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "absl/synchronization/notification.h"

namespace rdmafs::fuse {
namespace {

class PageDropsTest : public ::testing::Test {
 protected:
  // Runs the loop until `count` were told of.
  void RunUntilTold(size_t count) {
    while (told_.size() < count) loop_.RunOnce(kSecond);
  }
  void Drop(PageDrops& drops, uint64_t node_id) {
    drops.Drop(node_id, loop_, [this, node_id] { told_.push_back(node_id); });
  }
  MonotonicClock clock_;
  EventLoop loop_{clock_};
  std::vector<uint64_t> told_;
};

TEST_F(PageDropsTest, TellsWhoAskedInTheOrderOfTheQuestions) {
  std::vector<uint64_t> dropped;
  PageDrops drops([&](uint64_t node_id) { dropped.push_back(node_id); });
  for (uint64_t node_id : {7, 8, 9}) Drop(drops, node_id);
  RunUntilTold(3);
  EXPECT_EQ(told_, (std::vector<uint64_t>{7, 8, 9}));
  EXPECT_EQ(dropped, told_);
}

TEST_F(PageDropsTest, AKernelThatWaitsForAnAnswerOfTheLoopGetsIt) {
  absl::Notification answered;
  PageDrops drops([&](uint64_t) { answered.WaitForNotification(); });
  Drop(drops, 7);
  loop_.Post([&] { answered.Notify(); });
  RunUntilTold(1);
}

TEST_F(PageDropsTest, ItsEndWaitsForWhatIsUnderWay) {
  absl::Notification begun, may_end;
  std::atomic<bool> ended{false};
  std::thread other([&] {
    begun.WaitForNotification();
    may_end.Notify();
  });
  {
    PageDrops drops([&](uint64_t) {
      begun.Notify();
      may_end.WaitForNotification();
      ended = true;
    });
    Drop(drops, 7);
    begun.WaitForNotification();
  }
  EXPECT_TRUE(ended);
  other.join();
}

}  // namespace
}  // namespace rdmafs::fuse
