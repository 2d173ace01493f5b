// How connections become sessions, and how those end.
#include <fcntl.h>

#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

using SessionTest = ServerFixture;

TEST_F(SessionTest, AHelloAndAnAttachGiveTheRoot) {
  auto client = Connect();
  const wire::FileHandle root = client->Enter();
  auto answer = client->Ask(wire::GetAttrRequest{{}, root});
  EXPECT_EQ(answer.status(), kOk);
  EXPECT_EQ(answer.Decode<wire::AttributesReply>().attributes.ino, 1u);
}

TEST_F(SessionTest, AnAttachOfWhatIsNotExportedIsRefused) {
  auto client = Connect();
  ASSERT_EQ(client->Hello().status(), kOk);
  EXPECT_EQ(client->Ask(wire::AttachRequest{}, {.inline_payload = "/etc"}).status(), Errno(ENOENT));
}

TEST_F(SessionTest, ASecondConnectionJoinsAndSharesOpenFiles) {
  store_->Put("f", "content");
  auto first = Connect();
  const wire::FileHandle root = first->Enter();
  ASSERT_EQ(first->Open(first->Lookup(root, "f"), 5, O_RDONLY), kOk);
  auto second = Connect();
  ASSERT_EQ(second->Hello(first->session[0], first->session[1], 1).status(), kOk);
  EXPECT_EQ(second->session[0], first->session[0]);
  EXPECT_EQ(second->Ask(wire::ReadRequest{5, 0, 100}).inline_payload, "content");
}

TEST_F(SessionTest, OpenFilesOfAnotherSessionAreNotThere) {
  store_->Put("f", "content");
  auto first = Connect();
  ASSERT_EQ(first->Open(first->Lookup(first->Enter(), "f"), 5, O_RDONLY), kOk);
  auto second = Connect();
  second->Enter();
  EXPECT_EQ(second->Ask(wire::ReadRequest{5, 0, 100}).status(), Errno(EBADF));
}

TEST_F(SessionTest, ASessionThatIsNotThereCannotBeJoined) {
  auto client = Connect();
  EXPECT_EQ(client->Hello(1, 2, 1).status(), Errno(ESTALE));
  EXPECT_EQ(client->Hello().status(), kOk);  // the connection may begin one of its own
}

constexpr wire::LockRange kWhole{1, 0, INT64_MAX, wire::LockType::kWrite, 1};

TEST_F(SessionTest, AClientThatComesBackHasItsSessionAgainWithItsFilesAndLocks) {
  store_->Put("f", "content");
  auto lost = Connect();
  const wire::FileHandle file = lost->Lookup(lost->Enter(), "f");
  ASSERT_EQ(lost->Open(file, 5, O_RDWR), kOk);
  ASSERT_EQ(lost->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  lost->Close();
  lost->AwaitClosed();

  auto back = Connect();
  ASSERT_EQ(back->ComeBackAs(*lost).status(), kOk);
  EXPECT_EQ(back->session[0], lost->session[0]);
  EXPECT_EQ(back->Ask(wire::ReadRequest{5, 0, 100}).inline_payload, "content");
  auto other = Connect();
  other->Enter();
  ASSERT_EQ(other->Open(file, 5, O_RDWR), kOk);
  EXPECT_EQ(other->Ask(wire::SetLockRequest{5, kWhole}).status(), Errno(EAGAIN));
}

TEST_F(SessionTest, AHelloClosesTheOlderConnectionOfItsNumberFirst) {
  auto lost = Connect();
  lost->Enter();
  auto back = Connect();
  ASSERT_EQ(back->ComeBackAs(*lost).status(), kOk);
  lost->AwaitClosed();
  EXPECT_EQ(back->Ask(wire::PingRequest{}).status(), kOk);
}

TEST_F(SessionTest, AHelloOfAnEarlierAttemptIsRefused) {
  auto lost = Connect();
  lost->Enter();
  auto back = Connect();
  ASSERT_EQ(back->ComeBackAs(*lost, 3).status(), kOk);
  auto late = Connect();
  EXPECT_EQ(late->ComeBackAs(*lost, 2).status(), Errno(ESTALE));
  EXPECT_EQ(back->Ask(wire::PingRequest{}).status(), kOk);
}

class LeaseLessTest : public ServerFixture {
 protected:
  LeaseLessTest() { options_.lease = 0; }
};

TEST_F(LeaseLessTest, AClientThatComesBackGetsANewSessionAfterItsOldOneHasEnded) {
  store_->Put("f", "content");
  auto lost = Connect();
  const wire::FileHandle file = lost->Lookup(lost->Enter(), "f");
  ASSERT_EQ(lost->Open(file, 5, O_RDWR), kOk);
  ASSERT_EQ(lost->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  lost->Close();
  lost->AwaitClosed();

  auto back = Connect();
  ASSERT_EQ(back->Hello(lost->session[0], lost->session[1], 0).status(), kOk);
  EXPECT_NE(back->session[0], lost->session[0]);
  ASSERT_EQ(back->Ask(wire::AttachRequest{}, {.inline_payload = "/export"}).status(), kOk);
  ASSERT_EQ(back->Open(file, 5, O_RDWR), kOk);
  EXPECT_EQ(back->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
}

TEST_F(SessionTest, ASessionWhoseClientSaidFarewellEndsWithItsConnectionsAndFreesFilesAndLocks) {
  store_->Put("f", "content");
  auto holder = Connect();
  const wire::FileHandle file = holder->Lookup(holder->Enter(), "f");
  ASSERT_EQ(holder->Open(file, 5, O_RDWR), kOk);
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  auto waiter = Connect();
  waiter->Enter();
  ASSERT_EQ(waiter->Open(file, 9, O_RDWR), kOk);
  waiter->Send(wire::SetLockRequest{9, kWhole, wire::kLockWait}, 3);
  ASSERT_EQ(holder->Ask(wire::EndRequest{}).status(), kOk);
  holder.reset();
  EXPECT_EQ(waiter->Wait(3).status(), kOk);
  waiter.reset();
  StopServer();
  EXPECT_EQ(store_->open_count, 0);
}

// A server after a restart, when one client had locks.
class RestartedTest : public ServerFixture {
 protected:
  RestartedTest() { options_.lock_holders = {{.id = {{7, 7}}, .before = {}}}; }
};

TEST_F(RestartedTest, NobodyWaitsForTheLocksOfAClientThatSaidFarewell) {
  store_->Put("f", "content");
  auto waiter = Connect();
  const wire::FileHandle file = waiter->Lookup(waiter->Enter(), "f");
  ASSERT_EQ(waiter->Open(file, 9, O_RDWR), kOk);
  waiter->Send(wire::SetLockRequest{9, kWhole}, 3);
  auto holder = Connect();
  ASSERT_EQ(holder->Hello(7, 7, 0).status(), kOk);
  ASSERT_EQ(waiter->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_FALSE(waiter->Answered(3)) << "nobody was waited for";
  ASSERT_EQ(holder->Ask(wire::EndRequest{}).status(), kOk);
  EXPECT_EQ(waiter->Wait(3).status(), kOk);
}

TEST_F(SessionTest, AfterItsFarewellASessionCannotBeJoinedAndItsFirstConnectionGetsANewOne) {
  auto first = Connect();
  first->Enter();
  ASSERT_EQ(first->Ask(wire::EndRequest{}).status(), kOk);
  auto second = Connect();
  EXPECT_EQ(second->Hello(first->session[0], first->session[1], 1).status(), Errno(ESTALE));
  auto third = Connect();
  ASSERT_EQ(third->Hello(first->session[0], first->session[1], 0).status(), kOk);
  EXPECT_NE(third->session[0], first->session[0]);
  first->AwaitClosed();
}

TEST_F(SessionTest, AnotherVersionIsRefusedInWords) {
  auto client = Connect();
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion + 1, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  EXPECT_EQ(client->Ask(hello, {}, wire::kSetUpSlot).status(), Errno(EPROTONOSUPPORT));
}

}  // namespace
}  // namespace rdmafs::server
