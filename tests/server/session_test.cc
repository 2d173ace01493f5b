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

TEST_F(SessionTest, AClientThatComesBackGetsANewSessionAfterItsOldOneHasEnded) {
  store_->Put("f", "content");
  auto lost = Connect();
  const wire::FileHandle file = lost->Lookup(lost->Enter(), "f");
  ASSERT_EQ(lost->Open(file, 5, O_RDWR), kOk);
  const wire::LockRange whole{1, 0, INT64_MAX, wire::LockType::kWrite, 1};
  ASSERT_EQ(lost->Ask(wire::SetLockRequest{5, whole}).status(), kOk);

  auto back = Connect();
  ASSERT_EQ(back->Hello(lost->session[0], lost->session[1], 0).status(), kOk);
  EXPECT_NE(back->session[0], lost->session[0]);
  ASSERT_EQ(back->Ask(wire::AttachRequest{}, {.inline_payload = "/export"}).status(), kOk);
  ASSERT_EQ(back->Open(file, 5, O_RDWR), kOk);
  EXPECT_EQ(back->Ask(wire::SetLockRequest{5, whole}).status(), kOk);
  lost->AwaitClosed();
}

TEST_F(SessionTest, TheLastConnectionsEndClosesFilesAndFreesLocks) {
  store_->Put("f", "content");
  auto holder = Connect();
  const wire::FileHandle file = holder->Lookup(holder->Enter(), "f");
  ASSERT_EQ(holder->Open(file, 5, O_RDWR), kOk);
  const wire::LockRange whole{1, 0, INT64_MAX, wire::LockType::kWrite, 1};
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, whole}).status(), kOk);
  auto waiter = Connect();
  waiter->Enter();
  ASSERT_EQ(waiter->Open(file, 9, O_RDWR), kOk);
  waiter->Send(wire::SetLockRequest{9, whole, wire::kLockWait}, 3);
  holder.reset();
  EXPECT_EQ(waiter->Wait(3).status(), kOk);
  waiter.reset();
  StopServer();
  EXPECT_EQ(store_->open_count, 0);
}

TEST_F(SessionTest, AnotherVersionIsRefusedInWords) {
  auto client = Connect();
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion + 1, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  EXPECT_EQ(client->Ask(hello, {}, wire::kSetUpSlot).status(), Errno(EPROTONOSUPPORT));
}

}  // namespace
}  // namespace rdmafs::server
