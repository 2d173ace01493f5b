// The client's end of a TcpConnection against servers that lie.
#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

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

// A client that lends pages, and a peer that has them in its socket yet.
class LendingClientTest : public TcpConnectionTest {
 protected:
  // Both sockets together take so much at once, also with Debian's net.core.wmem_max of 208 KiB.
  static constexpr size_t kSize = SendQueue::kMinLentBytes + (64 << 10);

  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    Start(TcpConnection::Role::kClient, 4 << 20, &host.arena);
  }
  // A call of slot 0 whose source is in the sockets.
  void Send(size_t offset, size_t size) {
    block = host.Filled(kSize, 4);
    Outgoing call;
    call.header = Request(0);
    call.header.flags = wire::kFlagSource;
    call.exposed = block.payload().subspan(offset, size);
    call.hold = block;
    ASSERT_EQ(end.Post(std::move(call)), kOk);
    const uint64_t all = sizeof(wire::MessageHeader) + size;
    ASSERT_TRUE(Until([&] { return end.connection->counters().bytes_sent.load() == all; }));
  }
  std::string Received(size_t size) {
    std::string bytes(sizeof(wire::MessageHeader) + size, '\0');
    EXPECT_EQ(recv(raw.get(), bytes.data(), bytes.size(), MSG_WAITALL),
              static_cast<ssize_t>(bytes.size()));
    return bytes.substr(sizeof(wire::MessageHeader));
  }
  void Overwrite() { std::memset(block.data(), 'x', block.size()); }

  Buffer block;
};

TEST_F(LendingClientTest, ASourceIsNotCopiedWhileItsCallIsInFlight) {
  Send(0, kSize);
  Overwrite();
  EXPECT_EQ(Received(kSize), std::string(kSize, 'x'));
}

// By then the block may have been used for something else.
TEST_F(LendingClientTest, WhatALostConnectionHasSentStaysWhatItWas) {
  Send(0, kSize);
  end.Close();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_TRUE(HasPattern(block.payload().first(kSize), 4));  // for the next connection
  EXPECT_EQ(end.connection->counters().copied_bytes.load(), kSize);
  Overwrite();
  EXPECT_EQ(Received(kSize), Pattern(kSize, 4));
}

TEST_F(LendingClientTest, AnAnsweredCallLeavesItsPagesWhereTheyAre) {
  Send(0, kSize);
  EXPECT_EQ(Received(kSize), Pattern(kSize, 4));
  SendAll(raw, MessageBytes(ReplyTo(0)));
  ASSERT_TRUE(Until([&] { return end.message_count == 1; }));
  end.Close();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_EQ(end.connection->counters().copied_bytes.load(), 0u);
}

TEST_F(LendingClientTest, ASourceThatBeginsInsideAPageIsCopied) {
  Send(8, kSize - 4096);
  Overwrite();
  EXPECT_EQ(Received(kSize - 4096), Pattern(kSize, 4).substr(8, kSize - 4096));
}

// As the kernel cuts direct writes from memory that is not aligned.
TEST_F(LendingClientTest, OfASourceThatEndsInsideAPageThatPartIsCopied) {
  constexpr size_t kWholePages = kSize - 8192, kPart = 4064;
  Send(4096, kWholePages + kPart);
  Overwrite();
  EXPECT_EQ(Received(kWholePages + kPart),
            std::string(kWholePages, 'x') + Pattern(kSize, 4).substr(4096 + kWholePages, kPart));
}

TEST_F(LendingClientTest, MemoryThatMayBeRegisteredIsCopied) {
  const int observer = host.arena.AddObserver([](Arena::Slab) {});
  Send(0, kSize);
  Overwrite();
  EXPECT_EQ(Received(kSize), Pattern(kSize, 4));
  host.arena.RemoveObserver(observer);
}

TEST_F(LendingClientTest, MemoryOfOthersIsCopied) {
  std::vector<std::byte> foreign(kSize, std::byte{'a'});
  Outgoing call;
  call.header = Request(0);
  call.header.flags = wire::kFlagSource;
  call.exposed = absl::MakeSpan(foreign);
  ASSERT_EQ(end.Post(std::move(call)), kOk);
  Rounds(3);
  std::fill(foreign.begin(), foreign.end(), std::byte{'b'});
  EXPECT_EQ(Received(kSize), std::string(kSize, 'a'));
}

}  // namespace
}  // namespace rdmafs
