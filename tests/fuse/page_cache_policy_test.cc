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

TEST(PageCachePolicy, TheFirstOpenDropsThePages) {
  PageCachePolicy policy;
  EXPECT_FALSE(policy.OnOpen(kOld, CacheMode::kAuto).keep_pages);
}

TEST(PageCachePolicy, AnOpenOfTheUnchangedFileKeepsThem) {
  PageCachePolicy policy;
  policy.OnOpen(kOld, CacheMode::kAuto);
  policy.OnAttributes(kOld);
  EXPECT_TRUE(policy.OnOpen(kOld, CacheMode::kAuto).keep_pages);
}

class AnyChange : public ::testing::TestWithParam<void (*)(FileStamp&)> {};

TEST_P(AnyChange, DropsThePagesOnce) {
  PageCachePolicy policy;
  policy.OnOpen(kOld, CacheMode::kAuto);
  const FileStamp fresh = Changed(GetParam());
  EXPECT_FALSE(policy.OnOpen(fresh, CacheMode::kAuto).keep_pages);
  EXPECT_TRUE(policy.OnOpen(fresh, CacheMode::kAuto).keep_pages);
}

TEST_P(AnyChange, SeenInAttributesDropsThePagesAtTheNextOpenEvenIfItIsUndone) {
  PageCachePolicy policy;
  policy.OnOpen(kOld, CacheMode::kAuto);
  policy.OnAttributes(Changed(GetParam()));
  EXPECT_FALSE(policy.OnOpen(kOld, CacheMode::kAuto).keep_pages);
}

INSTANTIATE_TEST_SUITE_P(
    PageCachePolicy, AnyChange,
    ::testing::Values([](FileStamp& s) { ++s.size; }, [](FileStamp& s) { ++s.mtime_s; },
                      [](FileStamp& s) { ++s.mtime_ns; }, [](FileStamp& s) { ++s.ctime_s; },
                      [](FileStamp& s) { ++s.ctime_ns; }, [](FileStamp& s) { --s.mtime_s; }));

TEST(PageCachePolicy, AlwaysKeepsWhateverChanged) {
  PageCachePolicy policy;
  EXPECT_TRUE(policy.OnOpen(kOld, CacheMode::kAlways).keep_pages);
  const FileStamp fresh = Changed([](FileStamp& s) { ++s.size; });
  EXPECT_TRUE(policy.OnOpen(fresh, CacheMode::kAlways).keep_pages);
}

TEST(PageCachePolicy, NoneNeverKeeps) {
  PageCachePolicy policy;
  policy.OnOpen(kOld, CacheMode::kNone);
  EXPECT_FALSE(policy.OnOpen(kOld, CacheMode::kNone).keep_pages);
}

TEST(PageCachePolicy, AttributesThatTheKernelWasToldAreNotStale) {
  PageCachePolicy policy;
  policy.OnAttributes(kOld);
  EXPECT_FALSE(policy.OnOpen(kOld, CacheMode::kAuto).attributes_are_stale);
}

TEST(PageCachePolicy, AnOpenThatShowsAnotherStampThanTheKernelWasToldMakesItAskAgain) {
  PageCachePolicy policy;
  policy.OnAttributes(kOld);
  const FileStamp fresh = Changed([](FileStamp& s) { ++s.size; });
  EXPECT_TRUE(policy.OnOpen(fresh, CacheMode::kAuto).attributes_are_stale);
  EXPECT_TRUE(policy.OnOpen(fresh, CacheMode::kNone).attributes_are_stale);
  policy.OnAttributes(fresh);
  EXPECT_FALSE(policy.OnOpen(fresh, CacheMode::kAuto).attributes_are_stale);
}

}  // namespace
}  // namespace rdmafs::fuse
