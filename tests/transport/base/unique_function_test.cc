// UniqueFunction: what it holds lives as long as it does, inside or on the heap.
#include "transport/base/unique_function.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace rdmafs {
namespace {

using Function = UniqueFunction<int(int)>;

TEST(UniqueFunction, CallsWhatItHolds) {
  Function twice = [](int x) { return 2 * x; };
  EXPECT_TRUE(twice);
  EXPECT_EQ(twice(21), 42);
  EXPECT_FALSE(Function());
  EXPECT_FALSE(Function(nullptr));
}

TEST(UniqueFunction, SmallCapturesAreStoredInsideAndLargeOnesAreNot) {
  std::array<char, 48> small{};
  std::array<char, 49> large{};
  auto with_small = [small](int x) { return x + small[0]; };
  auto with_large = [large](int x) { return x + large[0]; };
  static_assert(Function::kFits<decltype(with_small)>);
  static_assert(!Function::kFits<decltype(with_large)>);
  EXPECT_EQ(Function(with_small)(1), 1);
  EXPECT_EQ(Function(with_large)(1), 1);
}

template <size_t kPadding>
void ExpectOneDestruction() {
  auto alive = std::make_shared<int>(5);
  std::weak_ptr<int> watch = alive;
  std::array<char, kPadding> padding{};
  {
    Function first = [alive = std::move(alive), padding](int x) { return x + *alive + padding[0]; };
    Function second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is the point
    EXPECT_EQ(second(1), 6);
    Function third;
    third = std::move(second);
    EXPECT_EQ(third(2), 7);
    EXPECT_EQ(watch.use_count(), 1);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(UniqueFunction, MovingMovesTheCaptures) {
  ExpectOneDestruction<1>();
  ExpectOneDestruction<200>();
}

TEST(UniqueFunction, AssignmentDestroysWhatWasHeld) {
  auto alive = std::make_shared<int>(5);
  std::weak_ptr<int> watch = alive;
  Function function = [alive = std::move(alive)](int x) { return x + *alive; };
  function = [](int x) { return x; };
  EXPECT_TRUE(watch.expired());
  EXPECT_EQ(function(3), 3);
}

TEST(UniqueFunction, KeepsStateBetweenCalls) {
  Function counter = [n = 0](int step) mutable { return n += step; };
  counter(2);
  EXPECT_EQ(counter(3), 5);
}

}  // namespace
}  // namespace rdmafs
