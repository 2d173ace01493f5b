// What is kept of directories for the kernel's next question, and what must not be.
#include "fuse/directory_attributes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace rdmafs::fuse {
namespace {

constexpr uint64_t kNode = 7, kOther = 8;
constexpr Nanoseconds kUntil = 1000;

wire::Attributes Of(uint64_t size) { return {.size = size, .mode = S_IFDIR | 0755}; }

class DirectoryAttributesTest : public ::testing::Test {
 protected:
  // The size by which a directory's attributes are told apart here; -1: nothing is kept.
  int64_t Take(uint64_t node, Nanoseconds now = kUntil - 1) {
    const auto kept = kept_.Take(node, now);
    return kept ? static_cast<int64_t>(kept->attributes.size) : -1;
  }
  DirectoryAttributes kept_;
};

TEST_F(DirectoryAttributesTest, WhatAChangeLeftIsGivenOnce) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  EXPECT_EQ(Take(kOther), -1);
  EXPECT_EQ(Take(kNode), 1);
  EXPECT_EQ(Take(kNode), -1);
}

TEST_F(DirectoryAttributesTest, NothingIsGivenAfterItsTime) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  EXPECT_EQ(Take(kNode, kUntil), -1);
}

TEST_F(DirectoryAttributesTest, NothingIsKeptOfAChangeWhoseAnswerHadNone) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  kept_.End(kept_.Begin(kNode), wire::Attributes(), kUntil);
  EXPECT_EQ(Take(kNode), -1);
}

TEST_F(DirectoryAttributesTest, NothingIsGivenWhileAnotherChangeIsUnderWay) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  const auto change = kept_.Begin(kNode);
  EXPECT_EQ(Take(kNode), -1);
  kept_.End(change, Of(2), kUntil);
  EXPECT_EQ(Take(kNode), 2);
}

// Their answers may come in another order than the server made them in.
TEST_F(DirectoryAttributesTest, NothingIsKeptOfChangesAtTheSameTime) {
  const auto first = kept_.Begin(kNode), second = kept_.Begin(kNode);
  kept_.End(second, Of(2), kUntil);
  EXPECT_EQ(Take(kNode), -1) << "the first is still under way";
  kept_.End(first, Of(1), kUntil);
  EXPECT_EQ(Take(kNode), -1) << "the second began after it";
}

TEST_F(DirectoryAttributesTest, AChangeOfAnotherDirectoryTakesNothingAway) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  kept_.End(kept_.Begin(kOther), Of(2), kUntil);
  EXPECT_EQ(Take(kNode), 1);
  EXPECT_EQ(Take(kOther), 2);
}

TEST_F(DirectoryAttributesTest, WhatMayHaveRemovedADirectoryLeavesItsOwnAlone) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  kept_.End(kept_.Begin(kOther), Of(2), kUntil, true);
  EXPECT_EQ(Take(kNode), -1) << "it may be the one that was removed";
  EXPECT_EQ(Take(kOther), 2);
}

TEST_F(DirectoryAttributesTest, NothingIsKeptOfAChangeDuringWhichADirectoryWasRemoved) {
  const auto change = kept_.Begin(kNode);
  kept_.End(kept_.Begin(kOther), Of(2), kUntil, true);
  kept_.End(change, Of(1), kUntil);
  EXPECT_EQ(Take(kNode), -1);
}

TEST_F(DirectoryAttributesTest, WhatTheKernelLearnsOtherwiseIsNewer) {
  kept_.End(kept_.Begin(kNode), Of(1), kUntil);
  kept_.Forget(kOther);
  kept_.Forget(kNode);
  EXPECT_EQ(Take(kNode), -1);
}

TEST_F(DirectoryAttributesTest, ManyDirectoriesPushEachOtherOutButAreNeverMixedUp) {
  constexpr uint64_t kCount = 1000;
  for (uint64_t node = 1; node <= kCount; ++node) kept_.End(kept_.Begin(node), Of(node), kUntil);
  size_t found = 0;
  for (uint64_t node = 1; node <= kCount; ++node) {
    const int64_t size = Take(node);
    if (size < 0) continue;
    EXPECT_EQ(size, static_cast<int64_t>(node));
    ++found;
  }
  EXPECT_GT(found, 0u);
  EXPECT_LT(found, kCount);
}

}  // namespace
}  // namespace rdmafs::fuse
