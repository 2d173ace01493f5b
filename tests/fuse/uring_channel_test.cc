// UringChannel: how a mount's memory is shared out to the kernel's queues. What it does with a
// kernel is in tests/end_to_end (suites uring and, by --options io_uring=on, all others).
#include "fuse/uring_channel.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace rdmafs::fuse {
namespace {

constexpr size_t kMebi = size_t{1} << 20;

TEST(UringChannel, HalfOfThePoolGoesToTheQueuesInEqualShares) {
  struct {
    size_t pool_bytes, queues, depth;
  } const cases[] = {
      {64 * kMebi, 2, 15},    // 31 blocks of 1 MiB and 8 KiB
      {64 * kMebi, 1, 16},    // the most that a queue gets
      {1024 * kMebi, 4, 16},  //
      {64 * kMebi, 7, 4},     // the fewest that are of use
      {64 * kMebi, 8, 0},     // too little: the device
      {4 * kMebi, 1, 0},      //
      {64 * kMebi, 0, 0},     // unknown
  };
  for (const auto& c : cases) {
    EXPECT_EQ(UringChannel::Depth(c.pool_bytes, c.queues), c.depth)
        << c.pool_bytes / kMebi << " MiB for " << c.queues << " queues";
  }
}

TEST(UringChannel, ThereIsAQueueForEachProcessorThatMayCome) {
  EXPECT_GE(UringChannel::QueueCount(), static_cast<size_t>(sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace
}  // namespace rdmafs::fuse
