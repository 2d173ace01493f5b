#include "fuse/helpers.h"

#include <gtest/gtest.h>

#include "transport/base/clock.h"

namespace rdmafs::fuse {
namespace {

class HelpersTest : public testing::Test {
 protected:
  void Rest(Nanoseconds now) {
    helpers_.Rest(loop_, now, [this] { ++begun_; });
  }
  int Begun() {
    loop_.RunOnce(0);
    return begun_;
  }

  MonotonicClock clock_;
  EventLoop loop_{clock_};
  Helpers helpers_;
  int begun_ = 0;
};

TEST_F(HelpersTest, WhoRestsIsLeftAloneUntilACall) {
  Rest(0);
  EXPECT_FALSE(helpers_.wanted(0));
  EXPECT_EQ(Begun(), 0);
}

TEST_F(HelpersTest, ACallWakesEachOnce) {
  Rest(0);
  Rest(0);
  helpers_.Call(1);
  helpers_.Call(2);
  EXPECT_EQ(Begun(), 2);
}

TEST_F(HelpersTest, WhoGoesToRestDuringACallIsWokenAtOnce) {
  helpers_.Call(0);
  Rest(Helpers::kStay - 1);
  EXPECT_EQ(Begun(), 1);
  Rest(Helpers::kStay);
  EXPECT_EQ(Begun(), 1);
}

TEST_F(HelpersTest, TheLastCallSaysForHowLong) {
  helpers_.Call(0);
  helpers_.Call(10);
  EXPECT_TRUE(helpers_.wanted(Helpers::kStay + 9));
  EXPECT_FALSE(helpers_.wanted(Helpers::kStay + 10));
}

}  // namespace
}  // namespace rdmafs::fuse
