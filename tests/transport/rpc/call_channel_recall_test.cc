// A new session, and calls that must not be done twice: the server is asked what became of them.
#include <vector>

#include "tests/transport/rpc/call_channel_rig.h"

namespace rdmafs {
namespace {

class CallChannelRecallTest : public CallChannelTest {
 protected:
  // Calls 0 to count - 1 were sent in session 1, which is over with the connection.
  void LoseSession(int count) {
    ConnectAndResume(8);
    for (int name = 0; name < count; ++name) Start(name, OnLoss::kAsk);
    sent_ = std::move(script_.posted);
    script_.Lose();
    Forget();
  }
  void Forget() {
    script_.posted.clear();
    script_.bodies.clear();
  }
  wire::RecallRequest Asked(size_t index) {
    EXPECT_EQ(script_.posted[index].header.opcode, static_cast<uint16_t>(wire::Opcode::kRecall));
    EXPECT_EQ(script_.posted[index].header.slot, wire::kSetUpSlot);
    wire::RecallRequest request;
    wire::Decoder decoder(script_.bodies[index]);
    EXPECT_TRUE(request.Code(decoder));
    return request;
  }
  std::vector<Outgoing> sent_;
};

TEST_F(CallChannelRecallTest, TheServerIsAskedByWhereTheCallStoodAndItsAnswerIsTheCalls) {
  LoseSession(1);
  ConnectAndResume(8);
  ASSERT_EQ(script_.posted.size(), 1u);
  const auto asked = Asked(0).fixed;
  EXPECT_EQ(asked.session[0], 1u);
  EXPECT_EQ(asked.slot, sent_[0].header.slot);
  EXPECT_EQ(asked.sequence, sent_[0].header.sequence);
  EXPECT_EQ(asked.opcode, sent_[0].header.opcode);
  script_.TellFate(0, wire::RecallFate::kDone, EEXIST);
  EXPECT_EQ(outcomes_[0], EEXIST);
  EXPECT_EQ(script_.posted.size(), 1u);
}

TEST_F(CallChannelRecallTest, TheBodyThatWasKeptIsTheAnswers) {
  ConnectAndResume(8);
  uint64_t count = 0;
  channel_.Start(wire::SeekRequest{1}, {}, OnLoss::kAsk, [&](Answer answer) {
    wire::CountReply reply;
    wire::Decoder decoder(answer.body());
    EXPECT_TRUE(reply.Code(decoder) && decoder.AtEnd());
    count = reply.count;
  });
  script_.Lose();
  Forget();
  ConnectAndResume(8);
  std::byte space[16];
  script_.TellFate(0, wire::RecallFate::kDone, 0,
                   wire::Encode(wire::CountReply{77}, absl::MakeSpan(space)));
  EXPECT_EQ(count, 77u);
}

TEST_F(CallChannelRecallTest, WhatWasNeverBegunIsSentAnewInOrderAndBeforeWhatCameLater) {
  LoseSession(3);
  Start(3);
  ConnectAndResume(8);
  Start(4);
  ASSERT_EQ(script_.posted.size(), 1u);  // one question at a time, and nothing else
  script_.TellFate(0, wire::RecallFate::kNeverBegun);
  script_.TellFate(1, wire::RecallFate::kDone);
  ASSERT_EQ(script_.posted.size(), 3u);
  script_.TellFate(2, wire::RecallFate::kNeverBegun);
  ASSERT_EQ(script_.posted.size(), 7u);
  EXPECT_EQ(PostedName(3), 0u);
  EXPECT_EQ(PostedName(4), 2u);
  EXPECT_EQ(PostedName(5), 3u);
  EXPECT_EQ(PostedName(6), 4u);
  EXPECT_EQ(outcomes_[1], 0);
}

TEST_F(CallChannelRecallTest, WhatNobodyKnowsFails) {
  LoseSession(1);
  ConnectAndResume(8);
  script_.Answer(0, ESTALE);
  EXPECT_EQ(outcomes_[0], EIO);
}

TEST_F(CallChannelRecallTest, AQuestionThatIsLostIsAskedAgainAboutTheSameCall) {
  LoseSession(1);
  for (bool same_session : {false, true, false}) {
    ConnectAndResume(8, same_session);
    ASSERT_EQ(script_.posted.size(), 1u);
    EXPECT_EQ(Asked(0).fixed.session[0], 1u);
    script_.Lose();
    loop_.RunOnce(0);
    Forget();
  }
  EXPECT_TRUE(outcomes_.empty());
}

TEST_F(CallChannelRecallTest, ACallThatWasSentAnewIsAskedAfterInItsNewPlace) {
  LoseSession(1);
  ConnectAndResume(8);
  script_.TellFate(0, wire::RecallFate::kNeverBegun);
  ASSERT_EQ(script_.posted.size(), 2u);
  script_.Lose();
  Forget();
  ConnectAndResume(8);
  EXPECT_EQ(Asked(0).fixed.session[0], 2u);
}

TEST_F(CallChannelRecallTest, ACallThatIsGivenUpWhileItIsAskedAfterIsAnsweredOnce) {
  LoseSession(1);
  Start(1);
  ConnectAndResume(8);
  EXPECT_TRUE(channel_.Withdraw(1, Errno(EINTR)));
  loop_.RunOnce(0);
  EXPECT_EQ(outcomes_[0], EINTR);
  script_.TellFate(0, wire::RecallFate::kNeverBegun);
  ASSERT_EQ(script_.posted.size(), 2u);
  EXPECT_EQ(PostedName(1), 1u);
}

}  // namespace
}  // namespace rdmafs
