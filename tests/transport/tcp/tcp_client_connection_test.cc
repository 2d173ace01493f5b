// The client's end of a TcpConnection against servers that lie.
#include <string>
#include <thread>

#include "tests/transport/tcp/tcp_connection_rig.h"

namespace rdmafs {
namespace {

TEST_F(TcpConnectionTest, AReplyWithoutACallClosesTheConnection) {
  StartClient();
  SendAll(raw, MessageBytes(ReplyTo(0)));
  ExpectBrokenProtocol("reply without a call");
}

TEST_F(TcpConnectionTest, AReplyToACallThatHasBeenAnsweredClosesTheConnection) {
  StartClient();
  PostCall();
  SendAll(raw, MessageBytes(ReplyTo(0)) + MessageBytes(ReplyTo(0)));
  ExpectBrokenProtocol("reply without a call");
  EXPECT_EQ(end.message_count, 1u);
}

TEST_F(TcpConnectionTest, AReplyWithAnotherSequenceNumberClosesTheConnection) {
  StartClient();
  PostCall();
  SendAll(raw, MessageBytes(ReplyTo(0, 2)));
  ExpectBrokenProtocol("reply without a call");
}

TEST_F(TcpConnectionTest, APayloadForACallWithoutSinkClosesTheConnection) {
  StartClient();
  PostCall(wire::kFlagSource, host.Filled(4096, 1), 4096);
  wire::MessageHeader reply = ReplyTo(0);
  reply.remote_size = 1;
  SendAll(raw, MessageBytes(reply) + "x");
  ExpectBrokenProtocol("1 bytes of payload for a sink of 0");
}

TEST_F(TcpConnectionTest, APayloadLargerThanItsSinkClosesTheConnectionAndWritesNothing) {
  StartClient();
  Buffer sink = host.Filled(8192, 3);
  PostCall(wire::kFlagSink, sink, 4096);
  wire::MessageHeader reply = ReplyTo(0);
  reply.remote_size = 4097;
  SendAll(raw, MessageBytes(reply) + Pattern(4097, 9));
  ExpectBrokenProtocol("4097 bytes of payload for a sink of 4096");
  EXPECT_TRUE(HasPattern(sink.payload().first(8192), 3));
}

TEST_F(TcpConnectionTest, APayloadThatIsSentBeforeItsCallClosesTheConnection) {
  StartClient();
  PostCall();
  wire::MessageHeader early = ReplyTo(1);
  early.remote_size = 4096;
  SendAll(raw, MessageBytes(ReplyTo(0)) + MessageBytes(early) + Pattern(4096, 1));
  end.on_message = [&](ContractEnd&, ReceivedMessage) {
    Outgoing call;
    call.header = Request(1);
    call.header.flags = wire::kFlagSink;
    call.hold = host.blocks.Take();
    call.exposed = call.hold.payload().first(4096);
    EXPECT_EQ(end.Post(std::move(call)), kOk);
  };
  ExpectBrokenProtocol("payload before its call");
  EXPECT_EQ(end.message_count, 1u);
}

TEST_F(TcpConnectionTest, ASlotIsUsedAgainOnlyAfterItsReply) {
  StartClient();
  PostCall();
  Outgoing again;
  again.header = Request(0, 2);
  EXPECT_EQ(end.Post(std::move(again)), Errno(ENOTCONN));
  ExpectBrokenProtocol("used before its reply");
}

// The memory of a refused write is its owner's again with the reply, so none of it may still be
// sent.
TEST_F(TcpConnectionTest, ARefusalWaitsUntilThePayloadOfItsCallHasBeenSent) {
  Start(TcpConnection::Role::kClient, 16 << 10);
  PostCall(wire::kFlagSource, host.Filled(1 << 20, 4), 1 << 20);
  SendAll(raw, MessageBytes(ReplyTo(0)));
  Rounds(10);
  EXPECT_EQ(end.message_count, 0u);
  EXPECT_EQ(host.blocks_used(), 1u);
  std::string sent;
  std::thread reader([&] {
    std::string chunk(64 << 10, '\0');
    while (sent.size() < sizeof(wire::MessageHeader) + (1 << 20)) {
      const ssize_t n = recv(raw.get(), chunk.data(), chunk.size(), 0);
      if (n <= 0) break;
      sent.append(chunk, 0, static_cast<size_t>(n));
    }
  });
  EXPECT_TRUE(Until([&] { return end.message_count == 1; }));
  reader.join();
  EXPECT_EQ(sent.substr(sizeof(wire::MessageHeader)), Pattern(1 << 20, 4));
  EXPECT_EQ(host.blocks_used(), 0u);
}

}  // namespace
}  // namespace rdmafs
