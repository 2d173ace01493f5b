// Clients that leave in the middle, locks that wait, tables that are full, and the server's own
// end.
#include <fcntl.h>

#include "server/limits.h"
#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

class TroubleTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    store_->Put("f", std::string(1 << 20, 'x'));
  }
  // A session of its own that has "f" open as 5.
  std::unique_ptr<RawClient> Entered() {
    auto client = Connect();
    file_ = client->Lookup(client->Enter(), "f");
    EXPECT_EQ(client->Open(file_, 5, O_RDWR), kOk);
    return client;
  }
  static constexpr wire::LockRange kWhole{1, 0, INT64_MAX, wire::LockType::kWrite, 1};
  wire::FileHandle file_;
};

TEST_F(TroubleTest, AClientThatLeavesDuringWorkLeavesNothingBehind) {
  auto client = Entered();
  store_->gate.Close();
  store_->no_wait_would_wait = true;
  client->Send(wire::FsyncRequest{5}, 0);
  client->Send(wire::ReadRequest{5, 0, 1 << 20}, 1, Sink(1 << 20));
  client->Send(wire::WriteRequest{5, 0, 3}, 2, {.inline_payload = "abc"});
  client->Send(wire::WriteRequest{5, 200000, 100000}, 3, Source(std::string(100000, 'w')));
  store_->gate.AwaitWaiting(4);
  client.reset();
  auto other = Connect();  // the server goes on meanwhile
  other->Enter();
  store_->gate.Open();
  EXPECT_EQ(other->Ask(wire::PingRequest{}).status(), kOk);
  other.reset();
  StopServer();
  EXPECT_EQ(store_->open_count, 0);
  EXPECT_EQ(blocks_->statistics().used_count, 0u);
  EXPECT_EQ(store_->Get("f").substr(0, 3), "abc");  // what was begun was done
}

TEST_F(TroubleTest, AFileThatIsOpenedWhileItsSessionEndsIsClosed) {
  auto client = Entered();
  store_->gate.Close();
  client->Send(wire::OpenRequest{{}, file_, 6, O_RDONLY}, 1);
  store_->gate.AwaitWaiting(1);
  client.reset();
  // The end of the session is seen by the file that was open.
  store_->gate.Open();
  StopServer();
  EXPECT_EQ(store_->open_count, 0);
}

TEST_F(TroubleTest, ALockThatWaitsIsGivenWhenItIsFree) {
  auto holder = Entered(), waiter = Entered();
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  EXPECT_EQ(waiter->Ask(wire::SetLockRequest{5, kWhole}).status(), Errno(EAGAIN));
  EXPECT_EQ(waiter->Ask(wire::GetLockRequest{5, kWhole}).Decode<wire::LockReply>().range.type,
            wire::LockType::kWrite);
  waiter->Send(wire::SetLockRequest{5, kWhole, wire::kLockWait}, 3);
  EXPECT_EQ(waiter->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_FALSE(waiter->Answered(3));
  wire::LockRange unlock = kWhole;
  unlock.type = wire::LockType::kUnlock;
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, unlock}).status(), kOk);
  EXPECT_EQ(waiter->Wait(3).status(), kOk);
}

TEST_F(TroubleTest, ALockThatWaitsCanBeCancelled) {
  auto holder = Entered(), waiter = Entered();
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  waiter->Send(wire::SetLockRequest{5, kWhole, wire::kLockWait}, 3);
  ASSERT_EQ(waiter->Ask(wire::CancelRequest{3, waiter->sequence(3) + 1}).status(),
            kOk);  // not that one
  EXPECT_FALSE(waiter->Answered(3));
  ASSERT_EQ(waiter->Ask(wire::CancelRequest{3, waiter->sequence(3)}).status(), kOk);
  EXPECT_EQ(waiter->Wait(3).status(), Errno(EINTR));
  EXPECT_EQ(waiter->Ask(wire::CancelRequest{3, waiter->sequence(3)}).status(),
            kOk);  // too late: nothing
}

TEST_F(TroubleTest, ALockDoesNotWaitForAClientThatLeft) {
  auto holder = Entered(), waiter = Entered();
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  waiter->Send(wire::SetLockRequest{5, kWhole, wire::kLockWait}, 3);
  EXPECT_EQ(waiter->Ask(wire::PingRequest{}).status(), kOk);
  waiter.reset();
  auto third = Entered();
  ASSERT_EQ(holder->Ask(wire::EndRequest{}).status(), kOk);
  holder.reset();
  third->Send(wire::SetLockRequest{5, kWhole, wire::kLockWait}, 3);
  EXPECT_EQ(third->Wait(3).status(), kOk);
}

TEST_F(TroubleTest, AReleaseFreesTheLocksTakenThroughIt) {
  auto holder = Entered(), waiter = Entered();
  ASSERT_EQ(holder->Ask(wire::SetLockRequest{5, kWhole, wire::kLockFlock}).status(), kOk);
  waiter->Send(wire::SetLockRequest{5, kWhole, wire::kLockFlock | wire::kLockWait}, 3);
  ASSERT_EQ(holder->Ask(wire::ReleaseRequest{5}).status(), kOk);
  EXPECT_EQ(waiter->Wait(3).status(), kOk);
  EXPECT_EQ(holder->Ask(wire::ReleaseRequest{5}).status(), Errno(EBADF));
}

TEST_F(TroubleTest, ACloseOfAProcessFreesItsLocksOnly) {
  auto client = Entered();
  wire::LockRange other = kWhole;
  other.owner = 2;
  ASSERT_EQ(client->Ask(wire::SetLockRequest{5, kWhole}).status(), kOk);
  EXPECT_EQ(client->Ask(wire::SetLockRequest{5, other}).status(), Errno(EAGAIN));
  ASSERT_EQ(client->Ask(wire::ReleaseOwnerRequest{5, 2}).status(), kOk);
  EXPECT_EQ(client->Ask(wire::SetLockRequest{5, other}).status(), Errno(EAGAIN));
  ASSERT_EQ(client->Ask(wire::ReleaseOwnerRequest{5, 1}).status(), kOk);
  EXPECT_EQ(client->Ask(wire::SetLockRequest{5, other}).status(), kOk);
}

TEST_F(TroubleTest, TheServerEndsWhileClientsWork) {
  auto client = Entered();
  store_->gate.Close();
  client->Send(wire::FsyncRequest{5}, 0);
  store_->gate.AwaitWaiting(1);
  store_->gate.Open();
  StopServer();
  client->AwaitClosed();
  EXPECT_EQ(store_->open_count, 0);
}

TEST_F(TroubleTest, AnExportThatIsWithdrawnIsStale) {
  auto client = Entered();
  exports_.withdrawn = true;
  server_->ReviewAttachments();
  // The review is a worker's: asked until it has been done, which the deadline of Ask() bounds.
  while (client->Ask(wire::ReadRequest{5, 0, 10}).status() == kOk) {
  }
  EXPECT_EQ(client->Ask(wire::ReadRequest{5, 0, 10}).status(), Errno(ESTALE));
  EXPECT_EQ(client->Ask(wire::GetAttrRequest{{}, file_}).status(), Errno(ESTALE));
  EXPECT_EQ(client->Ask(wire::AttachRequest{}, {.inline_payload = "/export"}).status(),
            Errno(ENOENT));
  EXPECT_EQ(client->Ask(wire::ReleaseRequest{5}).status(), kOk);
}

TEST(PeerOf, TellsHostAndPortApart) {
  EXPECT_EQ(PeerOf("10.0.0.1:20490").host, "10.0.0.1");
  EXPECT_EQ(PeerOf("10.0.0.1:20490").port, 20490);
  EXPECT_EQ(PeerOf("[fd00::1]:20490").host, "fd00::1");
  EXPECT_EQ(PeerOf("[fd00::1]:20490").port, 20490);
  EXPECT_EQ(PeerOf("fd00::1").host, "fd00::1");
  EXPECT_EQ(PeerOf("fd00::1").port, 0);
  EXPECT_EQ(PeerOf("loopback").host, "loopback");
  EXPECT_EQ(PeerOf("10.0.0.1:x").port, 0);
}

TEST(OpenTable, HoldsAsManyAsItMay) {
  OpenTable table(3);
  for (wire::OpenId id : {10, 20, 30}) EXPECT_EQ(table.Reserve(id), OpenTable::Reserved::kOk);
  EXPECT_EQ(table.Reserve(40), OpenTable::Reserved::kFull);
  table.Abandon(10);
  EXPECT_EQ(table.Reserve(40), OpenTable::Reserved::kOk);
  EXPECT_EQ(table.count(), 3u);
}

TEST(OpenTable, AnIdIsTakenBeforeTheFileIsOpen) {
  OpenTable table(3);
  EXPECT_EQ(table.Reserve(10), OpenTable::Reserved::kOk);
  EXPECT_EQ(table.Reserve(10), OpenTable::Reserved::kDuplicate);
  EXPECT_EQ(table.Find(10), nullptr);
  EXPECT_EQ(table.Remove(10), nullptr);
  EXPECT_TRUE(table.Fill(10, std::make_shared<OpenEntry>()));
  EXPECT_NE(table.Find(10), nullptr);
  EXPECT_NE(table.Remove(10), nullptr);
  EXPECT_EQ(table.count(), 0u);
}

TEST(OpenTable, NothingComesInAfterTheEnd) {
  OpenTable table(3);
  EXPECT_EQ(table.Reserve(10), OpenTable::Reserved::kOk);
  EXPECT_EQ(table.Reserve(20), OpenTable::Reserved::kOk);
  EXPECT_TRUE(table.Fill(20, std::make_shared<OpenEntry>()));
  EXPECT_EQ(table.Close().size(), 1u);
  EXPECT_FALSE(table.Fill(10, std::make_shared<OpenEntry>()));
  EXPECT_EQ(table.Reserve(30), OpenTable::Reserved::kFull);
  EXPECT_EQ(table.count(), 0u);
}

TEST(SessionTable, ASessionThatIsOverIsNotFound) {
  SessionTable table([](absl::Span<std::byte> bytes) { bytes[0] = std::byte{1}; });
  auto session = table.Create("10.0.0.1");
  ASSERT_TRUE(session.ok());
  EXPECT_TRUE(table.Find((*session)->id()).ok());
  ASSERT_TRUE((*session)->BeginEnd());
  EXPECT_EQ(table.Find((*session)->id()).error(), Errno(ESTALE));
  table.Erase(**session);
  EXPECT_EQ(table.count(), 0u);
}

TEST(SessionTable, WhenItIsFullTheOldestSessionOfAClientThatIsAwayMakesRoom) {
  uint64_t next = 0;
  SessionTable table([&](absl::Span<std::byte> bytes) {
    ++next;
    std::memcpy(bytes.data(), &next, sizeof next);
  });
  auto first = table.Create("10.0.0.1");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(table.OldestIdle(), nullptr);
  for (size_t i = 1; i < kMaxSessions; ++i) ASSERT_TRUE(table.Create("10.0.0.1").ok());
  EXPECT_EQ(table.Create("10.0.0.1").error(), Errno(ENFILE));
  ASSERT_EQ(table.OldestIdle(), *first);
  table.Erase(**first);
  EXPECT_TRUE(table.Create("10.0.0.1").ok());
}

}  // namespace
}  // namespace rdmafs::server
