// DeviceChannel: which block a request is read into, and what it does when there is none. A socket
// that keeps messages apart stands in for /dev/fuse; what it does with a kernel is in mount_test
// and tests/end_to_end.
#include "fuse/device_channel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/transport/base/manual_clock.h"

namespace rdmafs::fuse {
namespace {

class DeviceChannelTest : public testing::Test, public RequestSink {
 protected:
  DeviceChannelTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    kernel_.reset(fds[0]);
    channel_.emplace(UniqueFd(fds[1]), loop_, pool_);
    EXPECT_TRUE(channel_->Start(*this).ok());
  }

  void Ask(uint64_t unique, uint32_t opcode = FUSE_STATFS, std::string_view arguments = {}) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + arguments.size());
    header.opcode = opcode;
    header.unique = unique;
    std::string request(reinterpret_cast<const char*>(&header), sizeof header);
    request += arguments;
    ASSERT_EQ(write(kernel_.get(), request.data(), request.size()),
              static_cast<ssize_t>(header.len));
  }
  void OnRequest(Request& request) override {
    taken_.push_back(request.header.unique);
    places_.push_back(request.block.data());
    if (keep_) kept_.push_back(std::move(request.block));
  }
  void OnClosed(Errno reason) override { closed_ = reason; }
  // Until there is nothing left to do.
  void RunUntilIdle() {
    for (int round = 0; round < 20; ++round) loop_.RunOnce(0);
  }
  uint64_t used() const { return pool_.statistics().used_count; }

  ManualClock clock_;
  EventLoop loop_{clock_};
  Arena arena_;
  BufferPool pool_{arena_,
                   {.payload_bytes = 256 << 10, .cap_bytes = 4 << 20, .slab_bytes = 4 << 20}};
  UniqueFd kernel_;
  std::optional<DeviceChannel> channel_;
  bool keep_ = true;
  std::vector<uint64_t> taken_;
  std::vector<std::byte*> places_;
  std::vector<Buffer> kept_;
  Errno closed_ = kOk;
};

TEST_F(DeviceChannelTest, ARoundTakesWhatThereIsInOrder) {
  for (uint64_t i = 1; i <= 3; ++i) Ask(i);
  RunUntilIdle();
  EXPECT_EQ(taken_, (std::vector<uint64_t>{1, 2, 3}));
}

TEST_F(DeviceChannelTest, ALookForMoreThatWasInVainIsNotRepeatedAtOnce) {
  Ask(1);
  Ask(2);
  loop_.RunOnce(0);
  EXPECT_EQ(taken_, (std::vector<uint64_t>{1, 2}));
  RunUntilIdle();
  Ask(3);
  RunUntilIdle();
  Ask(4);  // alone, as the one before: in vain
  RunUntilIdle();
  Ask(5);
  Ask(6);
  loop_.RunOnce(0);
  EXPECT_EQ(taken_.back(), 5u);
  loop_.RunOnce(0);
  EXPECT_EQ(taken_.back(), 6u);
}

TEST_F(DeviceChannelTest, WhileItWaitsItHoldsNoBlock) {
  RunUntilIdle();
  EXPECT_EQ(used(), 0u);
  Ask(1);
  RunUntilIdle();
  EXPECT_EQ(used(), 1u);  // the request's
  for (uint64_t i = 2; i <= 4; ++i) Ask(i);
  RunUntilIdle();
  EXPECT_EQ(used(), 4u);
  kept_.clear();
  EXPECT_EQ(used(), 0u);
}

TEST_F(DeviceChannelTest, RequestsThatComeOneAtATimeAreReadIntoTheSameBlock) {
  for (uint64_t i = 1; i <= 5; ++i) {
    Ask(i);
    RunUntilIdle();
    kept_.clear();  // answered
  }
  EXPECT_EQ(places_, std::vector<std::byte*>(5, places_.front()));
}

TEST_F(DeviceChannelTest, ABlockThatARequestDoesNotNeedIsTheNextOnes) {
  keep_ = false;
  for (uint64_t i = 1; i <= 20; ++i) Ask(i);
  RunUntilIdle();
  EXPECT_EQ(taken_.size(), 20u);
  EXPECT_EQ(pool_.statistics().used_count_peak, 1u);
}

TEST_F(DeviceChannelTest, WithoutABlockRequestsStayWhereTheyAreUntilOneComesBack) {
  while (Buffer block = pool_.Take()) kept_.push_back(std::move(block));
  kept_.erase(kept_.begin(), kept_.begin() + 2);
  for (uint64_t i = 1; i <= 4; ++i) Ask(i);
  RunUntilIdle();
  EXPECT_EQ(taken_, (std::vector<uint64_t>{1, 2}));
  kept_.pop_back();
  RunUntilIdle();
  EXPECT_EQ(taken_, (std::vector<uint64_t>{1, 2, 3}));
  kept_.clear();
  RunUntilIdle();
  EXPECT_EQ(taken_, (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(closed_, kOk);
}

TEST_F(DeviceChannelTest, AfterStopNothingIsTakenAndNoBlockHeld) {
  Ask(1);
  channel_->Stop();
  RunUntilIdle();
  EXPECT_TRUE(taken_.empty());
  EXPECT_EQ(used(), 0u);
}

// A second channel of the same device, which helps the fixture's: that one is made anew, too.
class HelpingChannelTest : public DeviceChannelTest {
 protected:
  class Sink : public RequestSink {
   public:
    void OnRequest(Request& request) override { taken.push_back(request.header.unique); }
    void OnClosed(Errno reason) override {}
    std::vector<uint64_t> taken;
  };

  HelpingChannelTest() { Share({.helpers = &helpers_}); }
  ~HelpingChannelTest() override { channel_->Stop(); }

  void Share(const DeviceChannel::Sharing& first) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    kernel_.reset(fds[0]);
    UniqueFd second(dup(fds[1]));
    channel_.emplace(UniqueFd(fds[1]), loop_, pool_, first);
    EXPECT_TRUE(channel_->Start(*this).ok());
    helper_.emplace(std::move(second), helper_loop_, pool_,
                    DeviceChannel::Sharing{.helpers = &helpers_, .is_helper = true});
    EXPECT_TRUE(helper_->Start(sink_).ok());
    keep_ = false;
  }
  void AskToRead(uint64_t unique, uint32_t size) {
    fuse_read_in read{};
    read.size = size;
    Ask(unique, FUSE_READ, {reinterpret_cast<const char*>(&read), sizeof read});
  }
  void RunHelper() {
    for (int round = 0; round < 20; ++round) helper_loop_.RunOnce(0);
  }
  // Whether it takes a request that comes now.
  bool HelperTakes(uint64_t unique) {
    Ask(unique);
    RunHelper();
    return !sink_.taken.empty() && sink_.taken.back() == unique;
  }

  EventLoop helper_loop_{clock_};
  Helpers helpers_;
  Sink sink_;
  std::optional<DeviceChannel> helper_;
};

TEST_F(HelpingChannelTest, AHelperLeavesSmallRequestsToTheFirst) {
  AskToRead(1, (128 << 10) - 1);
  RunHelper();
  EXPECT_TRUE(sink_.taken.empty());
  RunUntilIdle();
  EXPECT_EQ(taken_, std::vector<uint64_t>{1});
  EXPECT_FALSE(HelperTakes(2));
}

TEST_F(HelpingChannelTest, AfterALargeReadItTakesWhateverComes) {
  AskToRead(1, 128 << 10);
  RunUntilIdle();
  EXPECT_TRUE(HelperTakes(2));
  EXPECT_TRUE(HelperTakes(3));
}

TEST_F(HelpingChannelTest, AndAfterALargeWrite) {
  Ask(1, FUSE_WRITE, std::string(128 << 10, 'x'));
  RunUntilIdle();
  EXPECT_TRUE(HelperTakes(2));
}

TEST_F(HelpingChannelTest, WithoutAFurtherOneItRestsAgain) {
  AskToRead(1, 128 << 10);
  RunUntilIdle();
  RunHelper();
  clock_.now += Helpers::kStay;
  RunHelper();
  EXPECT_FALSE(HelperTakes(2));
  AskToRead(3, 128 << 10);
  RunUntilIdle();
  EXPECT_TRUE(HelperTakes(4));
}

TEST_F(HelpingChannelTest, OverRdmaALargeTransferCallsNobody) {
  Share({.helpers = &helpers_, .calls_for_large = false});
  AskToRead(1, 1 << 20);
  RunUntilIdle();
  EXPECT_FALSE(HelperTakes(2));
}

TEST_F(HelpingChannelTest, AfterStopACallWakesNobody) {
  helper_->Stop();
  AskToRead(1, 128 << 10);
  RunUntilIdle();
  EXPECT_FALSE(HelperTakes(2));
}

TEST_F(DeviceChannelTest, AReplyByPipeIsOneMessage) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  UniqueFd ours(ends[0]), theirs(ends[1]);
  ASSERT_EQ(write(theirs.get(), "payload", 7), 7);
  PayloadPipe pipe;
  ASSERT_TRUE(pipe.Begin(7));
  ASSERT_EQ(pipe.Fill(ours.get(), 7), 7);
  EXPECT_TRUE(channel_->takes_pipes());
  EXPECT_EQ(channel_->ReplyByPipe({.unique = 5}, pipe), kOk);
  struct {
    fuse_out_header header;
    char data[8];
  } got{};
  ASSERT_EQ(read(kernel_.get(), &got, sizeof got), 16 + 7);
  EXPECT_EQ(got.header.len, 16u + 7);
  EXPECT_EQ(got.header.error, 0);
  EXPECT_EQ(got.header.unique, 5u);
  EXPECT_STREQ(got.data, "payload");
}

}  // namespace
}  // namespace rdmafs::fuse
