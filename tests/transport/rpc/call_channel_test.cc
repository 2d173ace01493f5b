#include "tests/transport/rpc/call_channel_rig.h"

namespace rdmafs {
namespace {

TEST_F(CallChannelTest, NoMoreCallsAreAtTheServerThanItGaveCredits) {
  ConnectAndResume(2);
  for (int name = 0; name < 5; ++name) Start(name);
  EXPECT_EQ(script_.posted.size(), 2u);
  script_.Answer(0);
  EXPECT_EQ(script_.posted.size(), 3u);
}

TEST_F(CallChannelTest, ASlotsSequenceGrowsByOneWithEachCall) {
  ConnectAndResume(1);
  Start(0);
  script_.Answer(0);
  Start(1);
  EXPECT_EQ(script_.posted[0].header.slot, script_.posted[1].header.slot);
  EXPECT_EQ(script_.posted[1].header.sequence, script_.posted[0].header.sequence + 1);
}

TEST_F(CallChannelTest, AnErrorOfTheServerReachesTheCaller) {
  ConnectAndResume(4);
  Start(0);
  script_.Answer(0, EROFS);
  EXPECT_EQ(outcomes_[0], EROFS);
}

TEST_F(CallChannelTest, AnAnswerToNoCallClosesTheConnection) {
  ConnectAndResume(4);
  Start(0);
  script_.Answer(0);
  script_.Answer(0);
  EXPECT_TRUE(script_.closed);
  EXPECT_EQ(script_.close_reason.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CallChannelTest, AnAnswerWithAnotherSequenceClosesTheConnection) {
  ConnectAndResume(4);
  Start(0);
  script_.posted[0].header.sequence += 1;
  script_.Answer(0);
  EXPECT_TRUE(script_.closed);
  EXPECT_EQ(outcomes_.count(0), 0u);
}

TEST_F(CallChannelTest, OnlySetUpCallsGoOutBeforeResume) {
  Connect();
  Start(0);
  channel_.StartFirst(wire::PingRequest{}, {}, Keep(1));
  ASSERT_EQ(script_.posted.size(), 1u);
  EXPECT_EQ(script_.posted[0].header.opcode, static_cast<uint16_t>(wire::Opcode::kPing));
  script_.Answer(0);
  Resume(8);
  EXPECT_EQ(script_.posted.size(), 2u);
}

TEST_F(CallChannelTest, InTheSameSessionEveryCallIsReplayedInItsSlotWithItsSequence) {
  ConnectAndResume(8);
  Start(0);
  script_.Answer(0);
  Start(1, OnLoss::kRepeat);
  Start(2, OnLoss::kFail);
  const wire::MessageHeader first = script_.posted[1].header, second = script_.posted[2].header;
  script_.Lose();
  script_.posted.clear();
  ConnectAndResume(8, /*same_session=*/true);
  ASSERT_EQ(script_.posted.size(), 2u);
  EXPECT_EQ(script_.posted[0].header.slot, first.slot);
  EXPECT_EQ(script_.posted[0].header.sequence, first.sequence);
  EXPECT_EQ(script_.posted[1].header.slot, second.slot);
  EXPECT_EQ(script_.posted[1].header.sequence, second.sequence);
  script_.Answer(0);
  script_.Answer(1);
  EXPECT_EQ(outcomes_[1], 0);
  EXPECT_EQ(outcomes_[2], 0);
}

TEST_F(CallChannelTest, TheSlotOfACallThatWasGivenUpIsUsedAgainWhenTheServerHasRetiredIt) {
  ConnectAndResume(1);
  Start(0);
  const uint32_t sequence = script_.posted[0].header.sequence;
  script_.Lose();
  channel_.FailOlder(clock_.Now() + kSecond, Errno(ETIMEDOUT));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], ETIMEDOUT);
  script_.posted.clear();
  ConnectAndResume(1, /*same_session=*/true);
  Start(1);
  ASSERT_EQ(script_.posted.size(), 1u);
  EXPECT_EQ(script_.posted[0].header.opcode, static_cast<uint16_t>(wire::Opcode::kRetire));
  script_.Answer(0);
  ASSERT_EQ(script_.posted.size(), 2u);
  EXPECT_EQ(script_.posted[1].header.sequence, sequence + 1);
}

TEST_F(CallChannelTest, SetUpCallsDoNotTakeTheSlotOfAKeptCall) {
  ConnectAndResume(1);
  Start(0);
  script_.Lose();
  script_.posted.clear();
  Connect();
  channel_.StartFirst(wire::PingRequest{}, {}, Keep(1));
  EXPECT_EQ(script_.posted[0].header.slot, wire::kSetUpSlot);
  EXPECT_EQ(script_.posted[0].header.sequence, 1u);
  script_.Answer(0);
  EXPECT_EQ(outcomes_.count(0), 0u);
}

TEST_F(CallChannelTest, InANewSessionWhatCanBeRepeatedIsSentAgainInOrderAndTheRestFails) {
  ConnectAndResume(8);
  Start(0, OnLoss::kRepeat);
  Start(1, OnLoss::kFail);
  Start(2, OnLoss::kRepeat);
  script_.Lose("cable");
  EXPECT_EQ(losses_, 1);
  EXPECT_EQ(loss_reason_, "cable");
  EXPECT_TRUE(outcomes_.empty());
  script_.posted.clear();
  script_.bodies.clear();
  ConnectAndResume(8);
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[1], EIO);
  ASSERT_EQ(script_.posted.size(), 2u);
  EXPECT_EQ(PostedName(0), 0u);
  EXPECT_EQ(PostedName(1), 2u);
}

// The client hears of the new session by another of its connections, while this one is lost again.
TEST_F(CallChannelTest, ANewSessionThatBeganWithoutAConnectionIsNewToItsFirst) {
  ConnectAndResume(8);
  Start(0, OnLoss::kFail);
  script_.Lose();
  Connect();
  script_.Lose();
  Resume(8);
  script_.posted.clear();
  ConnectAndResume(8, /*same_session=*/true);
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], EIO);
  Start(1);
  ASSERT_EQ(script_.posted.size(), 1u);
  EXPECT_EQ(script_.posted[0].header.sequence, 1u);
}

TEST_F(CallChannelTest, ACallThatWasNeverSentSurvivesALossWhateverItIs) {
  ConnectAndResume(1);
  Start(0, OnLoss::kRepeat);
  Start(1, OnLoss::kFail);  // waits for the credit
  script_.Lose();
  script_.posted.clear();
  ConnectAndResume(4);
  EXPECT_EQ(script_.posted.size(), 2u);
  EXPECT_EQ(outcomes_.count(1), 0u);
}

TEST_F(CallChannelTest, ACallPostedToAClosingConnectionIsSentOnTheNextOne) {
  ConnectAndResume(4);
  script_.post_error = Errno(ENOTCONN);
  Start(0, OnLoss::kFail);
  script_.Lose();
  script_.post_error = kOk;
  ConnectAndResume(4);
  loop_.RunOnce(0);
  ASSERT_EQ(script_.posted.size(), 1u);
  EXPECT_EQ(outcomes_.count(0), 0u);
}

TEST_F(CallChannelTest, AnExposedBufferIsHeldOverALossUntilItsAnswer) {
  Arena arena;
  BufferPool pool(arena, {.payload_bytes = 8192, .cap_bytes = 1 << 20});
  ConnectAndResume(4);
  CallPayload payload;
  payload.hold = pool.Take();
  payload.exposed = payload.hold.payload();
  payload.server_writes = true;
  channel_.Start(wire::ReadRequest{1, 0, 8192}, std::move(payload), OnLoss::kRepeat, Keep(0));
  script_.posted.clear();
  script_.Lose();
  EXPECT_EQ(pool.statistics().used_count, 1u);
  ConnectAndResume(4);
  script_.Answer(0);
  script_.posted.clear();
  EXPECT_EQ(pool.statistics().used_count, 0u);
}

TEST_F(CallChannelTest, WaitingLocksTakeHalfTheCreditsAtMost) {
  ConnectAndResume(4);
  for (int name = 0; name < 4; ++name) channel_.StartWaiting(wire::SetLockRequest{}, Keep(name));
  EXPECT_EQ(script_.posted.size(), 2u);
  Start(10);
  EXPECT_EQ(script_.posted.size(), 3u);
}

TEST_F(CallChannelTest, ACallThatWasNotSentCanBeWithdrawn) {
  ConnectAndResume(1);
  const CallId sent = Start(0);
  const CallId waiting = Start(1);
  EXPECT_FALSE(channel_.Withdraw(sent, Errno(EINTR)));
  EXPECT_TRUE(channel_.Withdraw(waiting, Errno(EINTR)));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[1], EINTR);
}

TEST_F(CallChannelTest, CallsThatWaitForALostServerAreWithdrawnByTheirMemory) {
  Arena arena;
  BufferPool pool(
      arena, {.payload_bytes = 8192, .cap_bytes = size_t{1} << 20, .slab_bytes = size_t{1} << 20});
  const Buffer given_up = pool.Take(), other = pool.Take();
  ConnectAndResume(4);
  for (int name = 0; name < 2; ++name) {
    const Buffer& block = name == 0 ? given_up : other;
    channel_.Start(wire::ReadRequest{1, 0, 8192},
                   {.exposed = block.payload(), .server_writes = true, .hold = block},
                   OnLoss::kRepeat, Keep(name));
  }
  channel_.WithdrawPayload(given_up.payload(), Errno(EINTR));
  loop_.RunOnce(0);
  EXPECT_TRUE(outcomes_.empty()) << "the server has it";
  script_.Lose();
  script_.posted.clear();  // what a connection would hold
  channel_.WithdrawPayload(given_up.payload(), Errno(EINTR));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_, (std::map<int, int>{{0, EINTR}}));
  EXPECT_FALSE(given_up.IsShared());
  EXPECT_TRUE(other.IsShared());
  ConnectAndResume(4);  // another session: the other one is sent again
  script_.Answer(0);
  EXPECT_EQ(outcomes_[1], 0);
  script_.posted.clear();
}

TEST_F(CallChannelTest, AFileThatTheNextSessionDoesNotKnowIsStaleToCallsOfTheFormerOne) {
  ConnectAndResume(4);
  Start(0);
  Start(1);
  script_.Answer(1, EBADF);
  EXPECT_EQ(outcomes_[1], EBADF);
  script_.Lose();
  script_.posted.clear();
  Start(2);  // waits for the next one
  ConnectAndResume(4);
  Start(3);
  for (size_t i = 0; i < 3; ++i) script_.Answer(i, EBADF);
  EXPECT_EQ(outcomes_, (std::map<int, int>{{0, ESTALE}, {1, EBADF}, {2, ESTALE}, {3, EBADF}}));
}

TEST_F(CallChannelTest, SoftCallsFailWhenTheirTimeIsOver) {
  ConnectAndResume(4);
  Start(0);
  script_.Lose();
  channel_.FailOlder(clock_.Now() + kSecond, Errno(ETIMEDOUT));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], ETIMEDOUT);
}

TEST_F(CallChannelTest, ACallThatCannotBePostedFailsAndTakesNoCredit) {
  ConnectAndResume(1);
  script_.post_error = Errno(EFAULT);
  Start(0);
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], EFAULT);
  script_.post_error = kOk;
  Start(1);
  EXPECT_EQ(script_.posted.size(), 1u);
}

TEST_F(CallChannelTest, ABodyOverTheLimitIsRefusedHere) {
  ConnectAndResume(4);
  std::vector<uint32_t> groups(wire::kMaxGroups + 1);
  wire::Caller caller;
  caller.groups = groups;
  channel_.Start(wire::AccessRequest{caller}, {}, OnLoss::kRepeat, Keep(0));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], E2BIG);
  EXPECT_TRUE(script_.posted.empty());
}

TEST_F(CallChannelTest, NoMoreThanTheBoundWait) {
  for (size_t i = 0; i < CallChannel::kMaxWaiting; ++i) Start(static_cast<int>(i));
  Start(-1);
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[-1], ENOBUFS);
  EXPECT_EQ(outcomes_.size(), 1u);
}

}  // namespace
}  // namespace rdmafs
