// Memory windows over a real device, against servers that do not keep to what they agreed on.
#include <gmock/gmock.h>

#include "tests/transport/rdma/raw_server.h"
#include "tests/transport/rdma/rdma_fixture.h"

namespace rdmafs {
namespace {

using testing::HasSubstr;

class RdmaWindowTest : public RdmaTest {
 protected:
  RdmaWindowTest() : windowed_side_(MemoryExposure::kWindow) {}

  void ConnectTo(RawServer& server) {
    ASSERT_EQ(client_.Connect(server.endpoint()), absl::OkStatus());
    const std::string exposure = client_.connection().exposure();
    // Nothing but a device that has none (Soft-iWARP) is a reason to go without.
    if (exposure.find(": it has none") != std::string::npos) GTEST_SKIP() << exposure;
    ASSERT_EQ(exposure.substr(0, 6), "window") << exposure;
  }
  // A call in `slot` that exposes a block, as the server got it.
  wire::MessageHeader Exposed(RawServer& server, uint16_t slot) {
    Expose(slot);
    Rounds();
    return server.NextCall();
  }
  // For what the client's device says of what was sent.
  void Rounds() {
    for (int i = 0; i < 10; ++i) client_.loop().RunOnce(kMillisecond);
  }
  void Expose(uint16_t slot) {
    Outgoing call = TestClient::Call(kPushPattern, slot, 1);
    call.header.flags = wire::kFlagSink;
    call.hold = windowed_side_.payload.Take();
    call.exposed = call.hold.payload();
    EXPECT_EQ(client_.connection().Post(std::move(call)), kOk);
  }
  void ExpectClosed(const char* why) {
    ASSERT_TRUE(client_.RunUntilClosed());
    EXPECT_TRUE(absl::IsInvalidArgument(client_.closed_)) << client_.closed_;
    EXPECT_THAT(std::string(client_.closed_.message()), HasSubstr(why));
    EXPECT_TRUE(client_.received_.empty());
    EXPECT_EQ(windowed_side_.payload.statistics().used_count, 0u);
  }

  Side windowed_side_;
  TestClient client_{windowed_side_};
};

TEST_F(RdmaWindowTest, AReplyThatInvalidatesItsCallsWindowIsTaken) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  const wire::MessageHeader call = Exposed(server, 0);
  EXPECT_TRUE(server.Reply(call, IBV_WR_SEND_WITH_INV, call.rkey));
  ASSERT_TRUE(client_.RunUntilReceived(1)) << client_.closed_;
  EXPECT_EQ(windowed_side_.payload.statistics().used_count, 0u);
}

TEST_F(RdmaWindowTest, AReplyThatInvalidatesNothingClosesTheConnection) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  EXPECT_TRUE(server.Reply(Exposed(server, 0), IBV_WR_SEND, 0));
  ExpectClosed("does not invalidate");
}

TEST_F(RdmaWindowTest, ImmediateDataIsNotTakenForAnInvalidation) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  const wire::MessageHeader call = Exposed(server, 0);
  EXPECT_TRUE(server.Reply(call, IBV_WR_SEND_WITH_IMM, call.rkey));
  ExpectClosed("does not invalidate");
}

TEST_F(RdmaWindowTest, AReplyThatInvalidatesAnotherCallsWindowClosesTheConnection) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  const wire::MessageHeader call = Exposed(server, 0), other = Exposed(server, 1);
  EXPECT_TRUE(server.Reply(call, IBV_WR_SEND_WITH_INV, other.rkey));
  ExpectClosed("another call's memory window");
}

TEST_F(RdmaWindowTest, AReplyToACallWithoutMemoryMustNotInvalidateAWindow) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  const wire::MessageHeader other = Exposed(server, 0);
  ASSERT_EQ(client_.connection().Post(TestClient::Call(kEcho, 1, 1)), kOk);
  EXPECT_TRUE(server.Reply(server.NextCall(), IBV_WR_SEND_WITH_INV, other.rkey));
  ExpectClosed("another call's memory window");
}

TEST_F(RdmaWindowTest, AnInvalidationOfNoWindowOfTheConnectionIsRefusedByTheDevice) {
  RawServer server(rdma::kHelloInvalidates);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  const wire::MessageHeader call = Exposed(server, 0);
  server.PostReply(call, IBV_WR_SEND_WITH_INV, call.rkey + 1);  // Soft-RoCE does not even answer it
  ASSERT_TRUE(client_.RunUntilClosed());
  EXPECT_TRUE(client_.received_.empty());
  EXPECT_EQ(windowed_side_.payload.statistics().used_count, 0u);
}

// What the peer had no room for is sent again, with what follows it: but a window that is bound
// stays so.
TEST_F(RdmaWindowTest, ARetransmissionLosesNoCall) {
  constexpr uint16_t kCalls = 3;
  RawServer server(rdma::kHelloInvalidates, /*receives=*/0);
  ASSERT_NO_FATAL_FAILURE(ConnectTo(server));
  if (IsSkipped()) return;
  for (uint16_t slot = 0; slot < kCalls; ++slot) Expose(slot);
  Rounds();  // refused, each that was sent
  server.PostReceives();
  std::thread serving([&] {
    for (uint16_t slot = 0; slot < kCalls; ++slot) {
      const wire::MessageHeader call = server.NextCall();
      ASSERT_EQ(call.slot, slot);
      ASSERT_TRUE(server.Reply(call, IBV_WR_SEND_WITH_INV, call.rkey));
    }
  });
  EXPECT_TRUE(client_.RunUntilReceived(kCalls)) << client_.closed_;
  serving.join();
}

// A server that cannot is found out once: after that there are no two attempts for a connection.
TEST_F(RdmaWindowTest, WithAServerThatDoesNotInvalidateItGoesOnWithRegistrations) {
  RawServer server(/*flags=*/0);
  ASSERT_EQ(client_.Connect(server.endpoint()), absl::OkStatus());
  EXPECT_EQ(client_.connection().exposure().substr(0, 7), "cache: ");
  const bool tried = server.connection_count() == 2;
  if (tried) {
    EXPECT_THAT(client_.connection().exposure(), HasSubstr("do not invalidate"));
  }
  const wire::MessageHeader call = Exposed(server, 0);
  EXPECT_TRUE(server.Reply(call, IBV_WR_SEND, 0));
  ASSERT_TRUE(client_.RunUntilReceived(1)) << client_.closed_;
  const size_t before = server.connection_count();
  TestClient next(windowed_side_);
  ASSERT_EQ(next.Connect(server.endpoint()), absl::OkStatus());
  EXPECT_EQ(server.connection_count(), before + 1);
}

}  // namespace
}  // namespace rdmafs
