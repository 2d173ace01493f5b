#include "client/library/watched_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>

namespace rdmafs::library {
namespace {

std::string Show(const WatchedRanges& set) {
  std::string text;
  for (const AddressRange& range : set.ranges())
    text += "[" + std::to_string(range.begin) + "," + std::to_string(range.end) + ")";
  return text;
}

WatchedRanges With(std::initializer_list<AddressRange> ranges, size_t capacity = 100) {
  WatchedRanges set(capacity);
  for (const AddressRange& range : ranges) EXPECT_TRUE(set.Add(range));
  return set;
}

TEST(WatchedRanges, WhatMeetsBecomesOneRange) {
  EXPECT_EQ(Show(With({{10, 20}, {30, 40}})), "[10,20)[30,40)");
  EXPECT_EQ(Show(With({{10, 20}, {20, 30}})), "[10,30)");
  EXPECT_EQ(Show(With({{10, 20}, {30, 40}, {19, 31}})), "[10,40)");
  EXPECT_EQ(Show(With({{10, 20}, {30, 40}, {50, 60}, {0, 100}})), "[0,100)");
  EXPECT_EQ(Show(With({{10, 20}, {12, 14}, {5, 5}})), "[10,20)");
}

TEST(WatchedRanges, OnlyWhatIsAllInsideIsContained) {
  const WatchedRanges set = With({{10, 20}, {30, 40}});
  EXPECT_TRUE(set.Contains({10, 20}));
  EXPECT_TRUE(set.Contains({35, 40}));
  EXPECT_FALSE(set.Contains({9, 11}));
  EXPECT_FALSE(set.Contains({15, 35}));
  EXPECT_FALSE(set.Contains({20, 21}));
  EXPECT_FALSE(set.Contains({0, 5}));
}

TEST(WatchedRanges, WhatIsRemovedIsCutOutOfWhatThereIs) {
  const struct {
    AddressRange removed;
    const char* left;
  } kCases[] = {{{0, 10}, "[10,20)[30,40)"},  {{10, 20}, "[30,40)"},
                {{5, 15}, "[15,20)[30,40)"},  {{12, 14}, "[10,12)[14,20)[30,40)"},
                {{15, 35}, "[10,15)[35,40)"}, {{0, 99}, ""},
                {{20, 30}, "[10,20)[30,40)"}, {{40, 50}, "[10,20)[30,40)"},
                {{7, 7}, "[10,20)[30,40)"}};
  for (const auto& c : kCases) {
    WatchedRanges set = With({{10, 20}, {30, 40}});
    EXPECT_TRUE(set.Remove(c.removed).empty());
    EXPECT_EQ(Show(set), c.left) << c.removed.begin << "-" << c.removed.end;
  }
}

TEST(WatchedRanges, AFullSetTakesNoFurtherRangeAndGivesUpTheSecondHalfOfASplitOne) {
  WatchedRanges set = With({{10, 20}, {30, 40}}, 2);
  EXPECT_FALSE(set.Add({50, 60}));
  EXPECT_EQ(Show(set), "[10,20)[30,40)");
  EXPECT_TRUE(set.Add({20, 30})) << "which joins two";
  EXPECT_EQ(Show(set), "[10,40)");
  EXPECT_TRUE(set.Add({50, 60}));
  const AddressRange lost = set.Remove({15, 20});
  EXPECT_EQ(Show(set), "[10,15)[50,60)");
  EXPECT_EQ(lost.begin, 20u);
  EXPECT_EQ(lost.end, 40u);
}

TEST(WatchedRanges, ItIsTheSetThatASetOfAddressesIs) {
  std::mt19937 random(20);
  WatchedRanges ranges(64);
  std::set<uintptr_t> addresses;
  for (int i = 0; i < 20'000; ++i) {
    const uintptr_t begin = random() % 100, end = begin + random() % 10;
    const bool adds = random() % 2 == 0;
    if (adds) {
      ASSERT_TRUE(ranges.Add({begin, end}));
    } else {
      ASSERT_TRUE(ranges.Remove({begin, end}).empty());
    }
    for (uintptr_t a = begin; a < end; ++a) {
      if (adds) {
        addresses.insert(a);
      } else {
        addresses.erase(a);
      }
    }
    ASSERT_EQ(ranges.size_bytes(), addresses.size());
    for (uintptr_t a = 0; a < 110; ++a)
      ASSERT_EQ(ranges.Contains({a, a + 1}), addresses.contains(a));
    for (size_t r = 1; r < ranges.ranges().size(); ++r)
      ASSERT_LT(ranges.ranges()[r - 1].end, ranges.ranges()[r].begin);
  }
}

}  // namespace
}  // namespace rdmafs::library
