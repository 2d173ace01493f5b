// The rdma transport over a real device: what a connection carries.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>

#include "tests/transport/rdma/rdma_fixture.h"

namespace rdmafs {
namespace {

TEST_F(RdmaTest, AMessageGoesThereAndItsEchoComesBack) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Outgoing call = TestClient::Call(kEcho, 3, 77);
  const std::string text = "the body";
  call.body = {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client.received_[0].header.slot, 3);
  EXPECT_EQ(client.received_[0].header.sequence, 77u);
  EXPECT_EQ(client.received_[0].body.size(), text.size());
  EXPECT_EQ(std::memcmp(client.received_[0].body.data(), text.data(), text.size()), 0);
  EXPECT_EQ(client.connection().transport_name(), "rdma");
  EXPECT_NE(client.connection().device(), "");
  EXPECT_EQ(client.connection().credits(), wire::kDefaultCredits);
}

TEST_F(RdmaTest, WhatTheServerPushesIsThereBeforeItsReply) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Buffer sink = client_side_.payload.Take();
  Outgoing call = TestClient::Call(kPushPattern, 0, 5);
  call.header.flags = wire::kFlagSink;
  call.exposed = sink.payload();
  call.hold = sink;
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client.received_[0].header.remote_size, sink.size());
  EXPECT_TRUE(HasPattern(5, sink.payload()));
}

TEST_F(RdmaTest, TheServerPullsWhatTheClientExposed) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Buffer source = client_side_.payload.Take();
  FillPattern(9, source.payload());
  Outgoing call = TestClient::Call(kPullChecksum, 0, 9);
  call.header.flags = wire::kFlagSource;
  call.exposed = source.payload();
  call.hold = source;
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  uint64_t sum = 0;
  ASSERT_EQ(client.received_[0].body.size(), sizeof sum);
  std::memcpy(&sum, client.received_[0].body.data(), sizeof sum);
  EXPECT_EQ(sum, Checksum(source.payload()));
}

TEST_F(RdmaTest, SixtyFourPushesAndPullsInFlightAllGetTheirOwnBytes) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  constexpr uint16_t kDepth = 64;
  constexpr size_t kSize = 100'000;
  std::vector<Buffer> buffers(kDepth);
  for (uint16_t slot = 0; slot < kDepth; ++slot) {
    buffers[slot] = client_side_.payload.Take();
    ASSERT_TRUE(buffers[slot]);
    const bool pull = slot % 2 == 0;
    Outgoing call = TestClient::Call(pull ? kPullChecksum : kPushPattern, slot, slot);
    call.header.flags = pull ? wire::kFlagSource : wire::kFlagSink;
    call.exposed = buffers[slot].payload().first(kSize);
    call.hold = buffers[slot];
    if (pull) FillPattern(slot, call.exposed);
    ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  }
  ASSERT_TRUE(client.RunUntilReceived(kDepth)) << client.closed_;
  for (const auto& reply : client.received_) {
    const uint16_t slot = reply.header.slot;
    const auto memory = buffers[slot].payload().first(kSize);
    if (slot % 2 != 0) {
      EXPECT_TRUE(HasPattern(slot, memory)) << slot;
      continue;
    }
    uint64_t sum = 0;
    ASSERT_EQ(reply.body.size(), sizeof sum);
    std::memcpy(&sum, reply.body.data(), sizeof sum);
    EXPECT_EQ(sum, Checksum(memory)) << slot;
  }
}

TEST_F(RdmaTest, AClientThatKeepsItsRepliesWaitsForReceivesAndIsNotCutOff) {
  TestServer server(server_side_, {.credits = 4});
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint(), {.credits = 4}), absl::OkStatus());
  client.keep_messages_ = true;
  size_t sent = 0;
  auto post = [&](uint16_t slot) {
    ASSERT_EQ(
        client.connection().Post(TestClient::Call(kEcho, slot, static_cast<uint32_t>(sent++))),
        kOk);
  };
  client.on_reply_ = [&](const wire::MessageHeader& header) {
    if (sent < 10) post(header.slot);
  };
  for (uint16_t slot = 0; slot < 4; ++slot) post(slot);
  ASSERT_TRUE(client.RunUntilReceived(6));  // as many as there are receives
  for (int i = 0; i < 5; ++i) client.loop().RunOnce(10 * kMillisecond);
  EXPECT_EQ(client.received_.size(), 6u);
  EXPECT_EQ(client.closed_count_, 0);
  client.messages_.clear();
  ASSERT_TRUE(client.RunUntilReceived(10)) << client.closed_;
  client.messages_.clear();
}

TEST_F(RdmaTest, ManyMessagesOfTheLargestSizeGoThroughTheSendRing) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  std::vector<std::byte> body(wire::kMaxBodyBytes);
  uint32_t sent = 0;
  auto post = [&](uint16_t slot) {
    FillPattern(sent, absl::MakeSpan(body));
    Outgoing call = TestClient::Call(kEcho, slot, sent++);
    call.body = body;
    ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  };
  client.on_reply_ = [&](const wire::MessageHeader& header) {
    if (sent < 1000) post(header.slot);
  };
  for (uint16_t slot = 0; slot < 64; ++slot) post(slot);
  ASSERT_TRUE(client.RunUntilReceived(1000)) << client.closed_;
  for (const auto& reply : client.received_)
    ASSERT_TRUE(HasPattern(reply.header.sequence, reply.body));
}

TEST_F(RdmaTest, UnregisteredMemoryIsRefusedWithEfault) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  std::vector<std::byte> foreign(4096);
  Outgoing sink = TestClient::Call(kPushPattern, 0, 1);
  sink.header.flags = wire::kFlagSink;
  sink.exposed = absl::MakeSpan(foreign);
  EXPECT_EQ(client.connection().Post(std::move(sink)), Errno(EFAULT));
  Outgoing payload = TestClient::Call(kEcho, 0, 1);
  payload.inline_payload = foreign;
  EXPECT_EQ(client.connection().Post(std::move(payload)), Errno(EFAULT));

  Buffer buffer = client_side_.payload.Take();
  Outgoing pushed = TestClient::Call(kPushForeign, 0, 1);  // the slot is still free
  pushed.header.flags = wire::kFlagSink;
  pushed.exposed = buffer.payload();
  ASSERT_EQ(client.connection().Post(std::move(pushed)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client.received_[0].header.status, static_cast<uint32_t>(EFAULT));
}

TEST_F(RdmaTest, AHoldLastsUntilTheReplyAndNoLonger) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  Buffer sink = client_side_.payload.Take();
  Outgoing call = TestClient::Call(kKeep, 0, 1);
  call.header.flags = wire::kFlagSink;
  call.exposed = sink.payload();
  call.hold = std::move(sink);
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(server.WaitUntil([&] { return server.kept_.size() == 1; }));
  client.loop().RunOnce(0);
  EXPECT_EQ(client_side_.payload.statistics().used_count, 1u);
  server.OnLoop([&] { server.ReleaseKept(); });
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client_side_.payload.statistics().used_count, 0u);
}

TEST_F(RdmaTest, AServerThatClosesWithCallsInFlightIsHeardOf) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  for (uint16_t slot = 0; slot < 10; ++slot) {
    ASSERT_EQ(client.connection().Post(TestClient::Call(kKeep, slot, 1)), kOk);
  }
  ASSERT_EQ(client.connection().Post(TestClient::Call(kCloseNow, 10, 1)), kOk);
  ASSERT_TRUE(client.RunUntilClosed());
  EXPECT_TRUE(absl::IsUnavailable(client.closed_)) << client.closed_;
  EXPECT_EQ(client.connection().Post(TestClient::Call(kEcho, 11, 1)), Errno(ENOTCONN));
  EXPECT_TRUE(server.WaitUntil([&] { return server.connections_.empty(); }));
}

TEST_F(RdmaTest, AServerThatClosesAsSoonAsItAcceptedIsHeardOf) {
  TestServer server(server_side_);
  server.OnLoop([&] { server.close_on_accept_ = true; });
  TestClient client(client_side_);
  ASSERT_EQ(client.Connect(server.endpoint()), absl::OkStatus());
  ASSERT_TRUE(client.RunUntilClosed());
  EXPECT_TRUE(absl::IsUnavailable(client.closed_)) << client.closed_;
}

TEST_F(RdmaTest, APeerThatIsKilledIsHeardOf) {
  TestServer server(server_side_);
  // A process that connects, makes a call that is not answered, and waits.
  const std::string program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "rdma_waiting_client";
  const std::string port = std::to_string(server.endpoint().port);
  char* arguments[] = {const_cast<char*>(program.c_str()), const_cast<char*>(port.c_str()),
                       nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ), 0)
      << program;
  EXPECT_TRUE(server.WaitUntil([&] { return server.kept_.size() == 1; }));
  ASSERT_EQ(kill(child, SIGKILL), 0);
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, 0), child);
  ASSERT_TRUE(WIFSIGNALED(how)) << "it ended by itself with " << WEXITSTATUS(how);
  ASSERT_TRUE(server.WaitUntil([&] { return server.closed_.size() == 1; }));
  server.OnLoop([&] { EXPECT_TRUE(absl::IsUnavailable(server.closed_[0])) << server.closed_[0]; });
}

}  // namespace
}  // namespace rdmafs
