// Loopback's verbs rules: what a device would refuse ends the connection here, too.
#include <string>

#include "tests/contract/transport_contract.h"
#include "transport/loopback/loopback_transport.h"

namespace rdmafs {
namespace {

class LoopbackTest : public testing::Test {
 protected:
  LoopbackTest() : loop(clock), client_host(Loopback()), server_host(Loopback()) {}
  void SetUp() override {
    auto listener = server_host.transport->Listen(
        {"", 7}, {.credits = 4}, loop,
        [this](std::unique_ptr<Connection> accepted) { server.connection = std::move(accepted); });
    ASSERT_TRUE(listener.ok()) << listener.status();
    auto connected = client_host.transport->Connect({"", 7}, {});
    ASSERT_TRUE(connected.ok()) << connected.status();
    client.connection = *std::move(connected);
    loop.RunOnce(0);
    ASSERT_NE(server.connection, nullptr);
    client.connection->Start(loop, client);
    server.connection->Start(loop, server);
  }
  ~LoopbackTest() override {
    for (ContractEnd* end : {&client, &server}) {
      end->held.clear();
      if (end->closed_count == 0) end->Close();
    }
    EXPECT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  }

  ContractTransport Loopback() {
    return {.name = "Loopback", .make = [this](TransportResources resources) {
              return std::make_unique<LoopbackTransport>(hub, resources);
            }};
  }
  [[nodiscard]] bool Until(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000; ++i) {
      if (condition()) return true;
      loop.RunOnce(0);
    }
    return condition();
  }
  // A call that exposes `size` bytes, as the server got it.
  wire::MessageHeader Expose(uint16_t flags, Buffer memory, size_t size) {
    Outgoing call;
    call.header.opcode = 3;
    call.header.sequence = ++sequence;
    call.header.flags = flags;
    call.exposed = memory.payload().first(size);
    call.hold = std::move(memory);
    EXPECT_EQ(client.Post(std::move(call)), kOk);
    EXPECT_TRUE(Until([&] { return server.held.size() == 1; }));
    return server.held[0].header();
  }
  void Push(const wire::MessageHeader& request, size_t size) {
    Outgoing reply;
    reply.hold = server_host.Filled(size, 1);
    reply.push = reply.hold.payload().first(size);
    server.Answer(request, std::move(reply));
  }
  void ExpectBothRefused() {
    ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
    EXPECT_TRUE(absl::IsInvalidArgument(server.reason)) << server.reason;
    EXPECT_TRUE(absl::IsInvalidArgument(client.reason)) << client.reason;
  }

  std::shared_ptr<LoopbackHub> hub = std::make_shared<LoopbackHub>(/*seed=*/1);
  MonotonicClock clock;
  EventLoop loop;
  ContractHost client_host, server_host;
  ContractEnd client{client_host}, server{server_host};
  uint32_t sequence = 0;
};

TEST_F(LoopbackTest, TheSmallerWishForCreditsWins) {
  EXPECT_EQ(client.connection->credits(), 4);
  EXPECT_EQ(server.connection->credits(), 4);
}

TEST_F(LoopbackTest, AWriteWithinTheSinkButOffItsBeginningIsAllowed) {
  Buffer sink = client_host.blocks.Take();
  wire::MessageHeader request = Expose(wire::kFlagSink, sink, 8192);
  request.remote_address += 4096;
  Push(request, 4096);
  ASSERT_TRUE(Until([&] { return client.message_count == 1; }));
  EXPECT_TRUE(HasPattern(sink.payload().subspan(4096, 4096), 1));
}

TEST_F(LoopbackTest, AWriteThatRunsOverTheEndIsRefused) {
  wire::MessageHeader request = Expose(wire::kFlagSink, client_host.blocks.Take(), 8192);
  request.remote_address += 4097;
  Push(request, 4096);
  ExpectBothRefused();
}

TEST_F(LoopbackTest, AWriteBeforeTheBeginningIsRefused) {
  wire::MessageHeader request = Expose(wire::kFlagSink, client_host.blocks.Take(), 8192);
  request.remote_address -= 1;
  Push(request, 4096);
  ExpectBothRefused();
}

TEST_F(LoopbackTest, AWriteToASourceIsRefused) {
  Buffer source = client_host.Filled(8192, 5);
  Push(Expose(wire::kFlagSource, source, 8192), 8192);
  ExpectBothRefused();
  EXPECT_TRUE(HasPattern(source.payload().first(8192), 5));
}

TEST_F(LoopbackTest, AReadOfASinkIsRefused) {
  Expose(wire::kFlagSink, client_host.Filled(8192, 5), 8192);
  Buffer destination = server_host.blocks.Take();
  Errno error;
  server.Pull(server.held[0], destination.payload().first(8192), destination,
              [&](Result<Connection::Pulled> result) { error = result.error(); });
  ExpectBothRefused();
  EXPECT_EQ(error, Errno(ENOTCONN));
}

TEST_F(LoopbackTest, AGuessedRkeyIsRefused) {
  wire::MessageHeader request = Expose(wire::kFlagSink, client_host.blocks.Take(), 8192);
  request.rkey += 1;
  Push(request, 4096);
  ExpectBothRefused();
}

TEST_F(LoopbackTest, AnRkeyIsWorthNothingAfterItsReply) {
  const wire::MessageHeader first = Expose(wire::kFlagSink, client_host.blocks.Take(), 8192);
  Push(first, 4096);
  ASSERT_TRUE(Until([&] { return client.message_count == 1; }));
  client.held.clear();
  server.held.clear();
  wire::MessageHeader second = Expose(wire::kFlagSink, client_host.blocks.Take(), 8192);
  EXPECT_NE(second.rkey, first.rkey);
  second.rkey = first.rkey;
  second.remote_address = first.remote_address;
  Push(second, 4096);
  ExpectBothRefused();
}

TEST_F(LoopbackTest, AMessageThatFindsNoReceivePostedEndsTheConnection) {
  for (uint16_t slot = 0; slot < 7; ++slot) {  // credits + 2, and one more
    Outgoing call;
    call.header.opcode = 3;
    call.header.slot = slot;
    EXPECT_EQ(client.Post(std::move(call)), kOk);
  }
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_TRUE(absl::IsInvalidArgument(client.reason)) << client.reason;
  EXPECT_EQ(server.message_count, 6u);
}

TEST_F(LoopbackTest, ADroppedMessagePostsItsReceiveAgain) {
  server.on_message = [](ContractEnd& end, ReceivedMessage request) {
    const wire::MessageHeader header = request.header();
    request.Drop();
    end.Answer(header);
  };
  client.on_message = [](ContractEnd&, ReceivedMessage) {};
  for (uint16_t i = 0; i < 100; ++i) {
    Outgoing call;
    call.header.opcode = 3;
    call.header.sequence = i;
    ASSERT_EQ(client.Post(std::move(call)), kOk);
    ASSERT_TRUE(Until([&] { return client.message_count == i + 1u; }));
  }
}

TEST_F(LoopbackTest, MemoryThatIsNotRegisteredIsEFAULT) {
  std::byte own[64] = {};
  Outgoing exposing;
  exposing.header.opcode = 3;
  exposing.header.flags = wire::kFlagSink;
  exposing.exposed = absl::MakeSpan(own);
  EXPECT_EQ(client.Post(std::move(exposing)), Errno(EFAULT));
  Outgoing sending;
  sending.header.opcode = 3;
  sending.inline_payload = own;
  EXPECT_EQ(client.Post(std::move(sending)), Errno(EFAULT));
  Outgoing pushing;
  pushing.header.opcode = 3;
  pushing.header.flags = wire::kFlagReply;
  pushing.push = own;
  EXPECT_EQ(server.Post(std::move(pushing)), Errno(EFAULT));
  loop.RunOnce(0);
  loop.RunOnce(0);
  EXPECT_EQ(server.message_count + client.message_count, 0u);
}

TEST_F(LoopbackTest, ForeignMemoryIsExposedWhenItIsSaidToBe) {
  std::byte own[64] = {};
  Outgoing call;
  call.header.opcode = 3;
  call.header.flags = wire::kFlagSink;
  call.exposed = absl::MakeSpan(own);
  call.foreign = call.exposed;
  ASSERT_EQ(client.Post(std::move(call)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Push(server.held[0].header(), 64);
  ASSERT_TRUE(Until([&] { return client.message_count == 1; }));
  EXPECT_TRUE(HasPattern(own, 1));
}

// A server made of the bare link, and a client with memory windows.
class LoopbackWindowTest : public LoopbackTest {
 protected:
  LoopbackWindowTest() {
    windowed.connection = std::make_unique<LoopbackConnection>(
        link, LoopbackLink::kClient, "raw", 4, std::make_shared<LoopbackMemory>(client_host.arena),
        MemoryExposure::kWindow);
    windowed.connection->Start(loop, windowed);
  }
  ~LoopbackWindowTest() override { EXPECT_TRUE(Until([&] { return windowed.closed_count == 1; })); }

  // The rkey of a call in `slot`, as it came over.
  uint32_t Exposed(uint16_t slot) {
    Outgoing call;
    call.header.opcode = 3;
    call.header.slot = slot;
    call.header.flags = wire::kFlagSink;
    call.hold = client_host.blocks.Take();
    call.exposed = call.hold.payload();
    EXPECT_EQ(windowed.Post(std::move(call)), kOk);
    loop.RunOnce(0);
    absl::Status end;
    auto arrived = link->TakeArrived(LoopbackLink::kServer, end);
    return arrived.empty() ? 0 : arrived[0]->header.rkey;
  }
  LoopbackLink::Outcome Answer(uint16_t slot, uint32_t invalidated) {
    wire::MessageHeader reply{};
    reply.size = sizeof reply;
    reply.opcode = 3;
    reply.slot = slot;
    reply.flags = wire::kFlagReply;
    return link->Send(LoopbackLink::kClient, {reply, {}, invalidated});
  }
  void ExpectFound() {
    EXPECT_TRUE(Until([&] { return windowed.closed_count == 1; }));
    EXPECT_TRUE(absl::IsInvalidArgument(windowed.reason)) << windowed.reason;
    EXPECT_EQ(windowed.message_count, 0u);
    EXPECT_EQ(client_host.blocks_used(), 0u);
  }

  std::shared_ptr<LoopbackLink> link = std::make_shared<LoopbackLink>(4, 1);
  ContractEnd windowed{client_host};
};

TEST_F(LoopbackWindowTest, AReplyThatInvalidatesItsCallsWindowIsTaken) {
  const uint32_t rkey = Exposed(0);
  ASSERT_EQ(Answer(0, rkey), LoopbackLink::Outcome::kDone);
  EXPECT_TRUE(Until([&] { return windowed.message_count == 1; }));
  EXPECT_EQ(client_host.blocks_used(), 0u);
  windowed.held.clear();
  windowed.Close();
}

TEST_F(LoopbackWindowTest, AReplyThatInvalidatesNothingClosesTheConnection) {
  Exposed(0);
  ASSERT_EQ(Answer(0, 0), LoopbackLink::Outcome::kDone);
  ExpectFound();
}

TEST_F(LoopbackWindowTest, AReplyThatInvalidatesAnotherCallsWindowClosesTheConnection) {
  Exposed(0);
  const uint32_t other = Exposed(1);
  ASSERT_EQ(Answer(0, other), LoopbackLink::Outcome::kDone);
  ExpectFound();
}

TEST_F(LoopbackWindowTest, AReplyToACallWithoutMemoryMustNotInvalidateAWindow) {
  const uint32_t other = Exposed(0);
  Outgoing plain;
  plain.header.opcode = 3;
  plain.header.slot = 1;
  ASSERT_EQ(windowed.Post(std::move(plain)), kOk);
  loop.RunOnce(0);
  ASSERT_EQ(Answer(1, other), LoopbackLink::Outcome::kDone);
  ExpectFound();
}

TEST_F(LoopbackWindowTest, AnInvalidationOfWhatIsNotExposedIsRefused) {
  const uint32_t rkey = Exposed(0);
  EXPECT_EQ(Answer(0, rkey + 1), LoopbackLink::Outcome::kNoSuchRkey);
  EXPECT_EQ(windowed.message_count, 0u);
  windowed.Close();
}

TEST_F(LoopbackTest, APortIsHeldByOneListener) {
  auto first = server_host.transport->Listen({"", 8}, {}, loop, {});
  ASSERT_TRUE(first.ok());
  auto second = server_host.transport->Listen({"", 8}, {}, loop, {});
  EXPECT_TRUE(absl::IsAlreadyExists(second.status())) << second.status();
  first->reset();
  EXPECT_TRUE(server_host.transport->Listen({"", 8}, {}, loop, {}).ok());
}

}  // namespace
}  // namespace rdmafs
