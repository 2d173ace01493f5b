// Calls whose answer was lost with the connection, and that the client says again on the next one.
#include <fcntl.h>

#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

class ReplayTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    store_->Put("f", "content");
    client_ = Connect();
    root_ = client_->Enter();
    file_ = client_->Lookup(root_, "f");
    ASSERT_EQ(client_->Open(file_, 5, O_RDWR), kOk);
  }
  void TearDown() override { client_.reset(); }

  wire::MkNodRequest MakeFile(std::string_view name) { return {{}, root_, name, S_IFREG | 0644}; }
  // An append that has come to the disk, which does not answer.
  void BeginAppend() {
    ASSERT_EQ(client_->Open(file_, 6, O_WRONLY | O_APPEND), kOk);
    store_->gate.Close();
    client_->Send(wire::WriteRequest{6, 0, 2}, 3, {.inline_payload = "++"});
    store_->gate.AwaitWaiting(1);
  }
  // The connection is lost, and the client comes back over another one.
  void Reconnect() {
    auto back = Connect();
    ASSERT_EQ(back->ComeBackAs(*client_, ++epoch_).status(), kOk);
    client_ = std::move(back);
  }

  uint32_t epoch_ = 0;
  std::unique_ptr<RawClient> client_;
  wire::FileHandle root_, file_;
};

TEST_F(ReplayTest, AChangeIsNotDoneTwiceAndItsReplyIsTheFirstOne) {
  const auto first = client_->Ask(MakeFile("new"), {}, 3);
  ASSERT_EQ(first.status(), kOk);
  Reconnect();
  client_->SendAgain(MakeFile("new"), 3);
  const auto again = client_->Wait(3);
  EXPECT_EQ(again.status(), kOk);  // done anew it would be EEXIST
  const auto made = first.Decode<wire::MadeReply>(), made_again = again.Decode<wire::MadeReply>();
  EXPECT_EQ(made_again.entry.attributes.ino, made.entry.attributes.ino);
  EXPECT_TRUE(S_ISDIR(made.parent.mode));
  EXPECT_EQ(made_again.parent.mode, 0u) << "the directory's attributes are not kept";
  EXPECT_EQ(client_->Ask(MakeFile("new"), {}, 3).status(), Errno(EEXIST));  // the slot goes on
}

TEST_F(ReplayTest, AnErrorIsKeptAsWell) {
  ASSERT_EQ(client_->Ask(wire::UnlinkRequest{{}, root_, "none"}, {}, 3).status(), Errno(ENOENT));
  store_->Put("none", "");
  Reconnect();
  client_->SendAgain(wire::UnlinkRequest{{}, root_, "none"}, 3);
  EXPECT_EQ(client_->Wait(3).status(), Errno(ENOENT));
}

TEST_F(ReplayTest, ACallThatNeverCameIsDoneOnTheNextConnection) {
  ASSERT_EQ(client_->Ask(MakeFile("a"), {}, 3).status(), kOk);
  Reconnect();
  EXPECT_EQ(client_->Ask(MakeFile("b"), {}, 3).status(), kOk);
}

TEST_F(ReplayTest, AReplayWaitsForTheCallThatStillRuns) {
  BeginAppend();
  Reconnect();
  client_->SendAgain(wire::WriteRequest{6, 0, 2}, 3, {.inline_payload = "++"});
  EXPECT_EQ(client_->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_FALSE(client_->Answered(3));
  store_->gate.Open();
  EXPECT_EQ(client_->Wait(3).Decode<wire::CountReply>().count, 2u);
  EXPECT_EQ(store_->Get("f"), "content++");
}

TEST_F(ReplayTest, AReplayThatIsLostAgainLeavesTheFirstCallToTheNext) {
  BeginAppend();
  for (int i = 0; i < 3; ++i) {
    Reconnect();
    client_->SendAgain(wire::WriteRequest{6, 0, 2}, 3, {.inline_payload = "++"});
    EXPECT_EQ(client_->Ask(wire::PingRequest{}).status(), kOk);
  }
  store_->gate.Open();
  EXPECT_EQ(client_->Wait(3).Decode<wire::CountReply>().count, 2u);
  EXPECT_EQ(store_->Get("f"), "content++");
}

TEST_F(ReplayTest, AnAppendIsNotAppendedTwice) {
  ASSERT_EQ(client_->Open(file_, 6, O_WRONLY | O_APPEND), kOk);
  ASSERT_EQ(client_->Ask(wire::WriteRequest{6, 0, 2}, {.inline_payload = "++"}, 3).status(), kOk);
  Reconnect();
  client_->SendAgain(wire::WriteRequest{6, 0, 2}, 3, {.inline_payload = "++"});
  EXPECT_EQ(client_->Wait(3).Decode<wire::CountReply>().count, 2u);
  EXPECT_EQ(store_->Get("f"), "content++");
}

TEST_F(ReplayTest, AnAppendWhosePayloadWasToBePulledIsAnsweredWithoutIt) {
  const std::string payload(100000, '+');
  ASSERT_EQ(client_->Open(file_, 6, O_WRONLY | O_APPEND), kOk);
  client_->Send(wire::WriteRequest{6, 0, 100000}, 3, Source(payload));
  ASSERT_EQ(client_->Wait(3).status(), kOk);
  Reconnect();
  client_->SendAgain(wire::WriteRequest{6, 0, 100000}, 3, Source(payload));
  EXPECT_EQ(client_->Wait(3).Decode<wire::CountReply>().count, 100000u);
  EXPECT_EQ(client_->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_EQ(store_->Get("f"), "content" + payload);
}

TEST_F(ReplayTest, ReadsAndWritesAreDoneAgain) {
  ASSERT_EQ(client_->Ask(wire::ReadRequest{5, 0, 100}, {}, 3).inline_payload, "content");
  ASSERT_EQ(client_->Ask(wire::WriteRequest{5, 0, 1}, {.inline_payload = "C"}, 4).status(), kOk);
  Reconnect();
  client_->SendAgain(wire::ReadRequest{5, 0, 100}, 3);
  EXPECT_EQ(client_->Wait(3).inline_payload, "Content");
  client_->SendAgain(wire::WriteRequest{5, 0, 1}, 4, {.inline_payload = "C"});
  EXPECT_EQ(client_->Wait(4).Decode<wire::CountReply>().count, 1u);
}

TEST_F(ReplayTest, AnOpenAndAReleaseCountOnce) {
  const wire::OpenRequest open{{}, file_, 7, O_RDONLY, 0, 100};
  ASSERT_EQ(client_->Ask(open, {}, 3).inline_payload, "content");
  ASSERT_EQ(client_->Ask(wire::ReleaseRequest{5}, {}, 4).status(), kOk);
  Reconnect();
  client_->SendAgain(open, 3);
  const auto again = client_->Wait(3);
  EXPECT_EQ(again.status(), kOk);
  EXPECT_EQ(again.inline_payload, "") << "payload is not kept";
  client_->SendAgain(wire::ReleaseRequest{5}, 4);
  EXPECT_EQ(client_->Wait(4).status(), kOk);
  EXPECT_EQ(store_->open_count, 1);
}

TEST_F(ReplayTest, ALockThatWaitedWaitsAgain) {
  const wire::LockRange whole{1, 0, INT64_MAX, wire::LockType::kWrite, 1};
  auto holder = Connect();
  holder->Enter();
  ASSERT_EQ(holder->Open(file_, 5, O_RDWR), kOk);
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, whole}).status(), kOk);
  client_->Send(wire::SetLockRequest{5, whole, wire::kLockWait}, 3);
  EXPECT_EQ(client_->Ask(wire::PingRequest{}).status(), kOk);
  Reconnect();
  client_->SendAgain(wire::SetLockRequest{5, whole, wire::kLockWait}, 3);
  EXPECT_EQ(client_->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_FALSE(client_->Answered(3));
  ASSERT_EQ(holder->Ask(wire::ReleaseRequest{5}).status(), kOk);
  EXPECT_EQ(client_->Wait(3).status(), kOk);
}

TEST_F(ReplayTest, AReplayOfAnotherCallBreaksTheProtocol) {
  ASSERT_EQ(client_->Ask(MakeFile("new"), {}, 3).status(), kOk);
  Reconnect();
  client_->SendAgain(wire::UnlinkRequest{{}, root_, "new"}, 3);
  client_->AwaitClosed();
}

TEST_F(ReplayTest, OnTheSameConnectionNothingIsSaidTwice) {
  ASSERT_EQ(client_->Ask(MakeFile("new"), {}, 3).status(), kOk);
  client_->SendAgain(MakeFile("new"), 3);
  client_->AwaitClosed();
}

TEST_F(ReplayTest, ARetiredSlotGoesOnBehindTheCallThatWasGivenUp) {
  ASSERT_EQ(client_->Ask(MakeFile("a"), {}, 3).status(), kOk);
  const uint32_t sequence = client_->sequence(3);
  client_->Close();
  client_->AwaitClosed();
  client_->Send(MakeFile("b"), 3);  // lost on its way
  Reconnect();
  ASSERT_EQ(client_->Ask(wire::RetireRequest{3, sequence + 1}, {}, wire::kSetUpSlot).status(), kOk);
  EXPECT_EQ(client_->Ask(MakeFile("b"), {}, 3).status(), kOk);
}

TEST_F(ReplayTest, ASlotIsNotRetiredWhileItsCallRuns) {
  store_->gate.Close();
  client_->Send(wire::FsyncRequest{5}, 3);
  store_->gate.AwaitWaiting(1);
  Reconnect();
  const wire::RetireRequest retire{3, client_->sequence(3)};
  EXPECT_EQ(client_->Ask(retire, {}, wire::kSetUpSlot).status(), Errno(EBUSY));
  store_->gate.Open();
  while (client_->Ask(retire, {}, wire::kSetUpSlot).status() == Errno(EBUSY)) {
  }
  EXPECT_EQ(client_->Ask(MakeFile("b"), {}, 3).status(), kOk);
}

}  // namespace
}  // namespace rdmafs::server
