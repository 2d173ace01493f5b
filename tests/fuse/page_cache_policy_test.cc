// PageCachePolicy: when an open keeps the kernel's pages.
#include "fuse/page_cache_policy.h"

#include <gtest/gtest.h>

namespace rdmafs::fuse {
namespace {

constexpr FileStamp kOld{.size = 10, .mtime_s = 100, .ctime_s = 100, .mtime_ns = 1, .ctime_ns = 1};

FileStamp Changed(void (*change)(FileStamp&)) {
  FileStamp stamp = kOld;
  change(stamp);
  return stamp;
}

// Of a file that settled long ago, by a kernel that does at once what it is told.
PageCachePolicy::OpenDecision Open(PageCachePolicy& policy, const FileStamp& stamp,
                                   CacheMode mode = CacheMode::kAuto) {
  const PageCachePolicy::OpenDecision decision = policy.OnOpen(stamp, /*settled=*/true, mode);
  if (!decision.keep_pages) policy.OnDropped();
  return decision;
}

TEST(PageCachePolicy, TheFirstOpenDropsThePages) {
  PageCachePolicy policy;
  EXPECT_FALSE(Open(policy, kOld).keep_pages);
}

TEST(PageCachePolicy, AnOpenOfTheUnchangedFileKeepsThem) {
  PageCachePolicy policy;
  Open(policy, kOld);
  policy.OnAttributes(kOld);
  EXPECT_TRUE(Open(policy, kOld).keep_pages);
}

class AnyChange : public ::testing::TestWithParam<void (*)(FileStamp&)> {};

TEST_P(AnyChange, DropsThePagesOnce) {
  PageCachePolicy policy;
  Open(policy, kOld);
  const FileStamp fresh = Changed(GetParam());
  EXPECT_FALSE(Open(policy, fresh).keep_pages);
  EXPECT_TRUE(Open(policy, fresh).keep_pages);
}

TEST_P(AnyChange, SeenInAttributesDropsThePagesAtTheNextOpenEvenIfItIsUndone) {
  PageCachePolicy policy;
  Open(policy, kOld);
  policy.OnAttributes(Changed(GetParam()));
  EXPECT_FALSE(Open(policy, kOld).keep_pages);
}

INSTANTIATE_TEST_SUITE_P(
    PageCachePolicy, AnyChange,
    ::testing::Values([](FileStamp& s) { ++s.size; }, [](FileStamp& s) { ++s.mtime_s; },
                      [](FileStamp& s) { ++s.mtime_ns; }, [](FileStamp& s) { ++s.ctime_s; },
                      [](FileStamp& s) { ++s.ctime_ns; }, [](FileStamp& s) { --s.mtime_s; }));

TEST(PageCachePolicy, PagesOfAFileThatHadNotSettledAreDroppedThoughNoChangeIsSeen) {
  PageCachePolicy policy;
  for (const bool settled : {false, false, true}) {
    EXPECT_FALSE(policy.OnOpen(kOld, settled, CacheMode::kAuto).keep_pages);
    policy.OnDropped();
  }
  EXPECT_TRUE(Open(policy, kOld).keep_pages);
}

TEST(PageCachePolicy, NoOpenKeepsPagesThatTheKernelIsStillToDropForAnother) {
  PageCachePolicy policy;
  for (int i = 0; i < 2; ++i)
    EXPECT_FALSE(policy.OnOpen(kOld, true, CacheMode::kAuto).keep_pages) << i;
  policy.OnDropped();
  EXPECT_FALSE(policy.OnOpen(kOld, true, CacheMode::kAuto).keep_pages) << "one is left";
  policy.OnDropped();
  policy.OnDropped();
  EXPECT_TRUE(policy.OnOpen(kOld, true, CacheMode::kAuto).keep_pages);
}

TEST(PageCachePolicy, AlwaysKeepsWhateverChanged) {
  PageCachePolicy policy;
  EXPECT_TRUE(Open(policy, kOld, CacheMode::kAlways).keep_pages);
  const FileStamp fresh = Changed([](FileStamp& s) { ++s.size; });
  EXPECT_TRUE(Open(policy, fresh, CacheMode::kAlways).keep_pages);
}

TEST(PageCachePolicy, NoneNeverKeeps) {
  PageCachePolicy policy;
  Open(policy, kOld, CacheMode::kNone);
  EXPECT_FALSE(Open(policy, kOld, CacheMode::kNone).keep_pages);
}

TEST(PageCachePolicy, AttributesThatTheKernelWasToldAreNotStale) {
  PageCachePolicy policy;
  policy.OnAttributes(kOld);
  EXPECT_FALSE(Open(policy, kOld).attributes_are_stale);
}

TEST(PageCachePolicy, AnOpenThatShowsAnotherStampThanTheKernelWasToldMakesItAskAgain) {
  PageCachePolicy policy;
  policy.OnAttributes(kOld);
  const FileStamp fresh = Changed([](FileStamp& s) { ++s.size; });
  EXPECT_TRUE(Open(policy, fresh).attributes_are_stale);
  EXPECT_TRUE(Open(policy, fresh, CacheMode::kNone).attributes_are_stale);
  policy.OnAttributes(fresh);
  EXPECT_FALSE(Open(policy, fresh).attributes_are_stale);
}

}  // namespace
}  // namespace rdmafs::fuse
