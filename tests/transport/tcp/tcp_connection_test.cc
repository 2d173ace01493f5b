// TcpConnection against peers that tear, dribble, flood, lie or vanish: raw sockets on the other
// side. Mostly a server's end.
#include <sys/mman.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/transport/tcp/tcp_connection_rig.h"

namespace rdmafs {
namespace {

TEST_F(TcpConnectionTest, AMessageAndItsPayloadMayComeAByteAtATime) {
  StartServer();
  const std::string frame = MessageBytes(SourceRequest(5, 100), "body") + Pattern(100, 1) +
                            MessageBytes(Request(6), "", "inline");
  Buffer block = host.blocks.Take();
  bool pulled = false;
  end.on_message = [&](ContractEnd&, ReceivedMessage message) {
    end.held.push_back(std::move(message));
    if (end.held.size() != 1) return;
    end.Pull(end.held[0], block.payload().first(100), block,
             [&](Result<Connection::Pulled> result) {
               ASSERT_TRUE(result.ok());
               EXPECT_TRUE(HasPattern(result->head, 1));
               EXPECT_TRUE(HasPattern(result->rest, 1, result->head.size()));
               pulled = true;
             });
  };
  for (char byte : frame) {
    SendAll(raw, {&byte, 1});
    Rounds(1);
  }
  ASSERT_TRUE(Until([&] { return end.held.size() == 2; }));
  EXPECT_TRUE(pulled);
  EXPECT_EQ(AsText(end.held[0].body()), "body");
  EXPECT_EQ(AsText(end.held[1].inline_payload()), "inline");
}

TEST_F(TcpConnectionTest, ASilentPeerCostsNoStagingMemory) {
  StartServer();
  Rounds(2);
  EXPECT_EQ(pool->used_count(), 0u);
  SendAll(raw, MessageBytes(Request(0)));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  EXPECT_EQ(pool->used_count(), 1u);
  end.held.clear();
  EXPECT_EQ(pool->used_count(), 0u);
}

TEST_F(TcpConnectionTest, GarbageClosesTheConnectionWithAReason) {
  StartServer();
  SendAll(raw, "GET / HTTP/1.1\r\nHost: not a file system server\r\n\r\n");
  ExpectBrokenProtocol("message size");
}

TEST_F(TcpConnectionTest, EveryFaultyHeaderClosesTheConnection) {
  struct Case {
    const char* because;
    void (*spoil)(wire::MessageHeader&);
  };
  const Case cases[] = {
      {"message size", [](wire::MessageHeader& h) { h.size = 39; }},
      {"message size", [](wire::MessageHeader& h) { h.size = wire::kMaxMessageBytes + 1; }},
      {"message size", [](wire::MessageHeader& h) { h.size = UINT32_MAX; }},
      {"inline payload size", [](wire::MessageHeader& h) { h.inline_size = UINT32_MAX; }},
      {"inline payload beyond", [](wire::MessageHeader& h) { h.inline_size = 1; }},
      {"body size", [](wire::MessageHeader& h) { h.size = 40 + wire::kMaxBodyBytes + 1; }},
      {"payload size",
       [](wire::MessageHeader& h) {
         h.flags = wire::kFlagSource;
         h.remote_size = wire::kMaxPayloadBytes + 1;
       }},
      {"slot number", [](wire::MessageHeader& h) { h.slot = wire::kMaxCredits; }},
      {"direction", [](wire::MessageHeader& h) { h.flags = wire::kFlagReply; }},
      {"unknown flags", [](wire::MessageHeader& h) { h.flags = 0x8000; }},
      {"both directions",
       [](wire::MessageHeader& h) {
         h.flags = wire::kFlagSource | wire::kFlagSink;
         h.remote_size = 1;
       }},
      {"payload without memory", [](wire::MessageHeader& h) { h.remote_size = 1; }},
      {"reply fields", [](wire::MessageHeader& h) { h.status = 5; }},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.because);
    StartServer();
    wire::MessageHeader header = Request(0);
    header.size = sizeof header;
    test.spoil(header);
    SendAll(raw, {reinterpret_cast<const char*>(&header), sizeof header});
    ExpectBrokenProtocol(test.because);
    EXPECT_EQ(end.message_count, 0u);
    end.connection.reset();
    end.closed_count = 0;
  }
}

TEST_F(TcpConnectionTest, AnEndInTheMiddleOfAMessageIsToldFromOneBetweenMessages) {
  for (bool torn : {false, true}) {
    StartServer();
    SendAll(raw, MessageBytes(Request(0)));
    if (torn) SendAll(raw, MessageBytes(Request(1), "body").substr(0, 41));
    raw.reset();
    ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
    EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
    EXPECT_EQ(end.reason.message().find("middle") != absl::string_view::npos, torn) << end.reason;
    EXPECT_EQ(end.held.size(), 1u);
    end.held.clear();
    end.connection.reset();
    end.closed_count = 0;
  }
}

TEST_F(TcpConnectionTest, AnEndInTheMiddleOfAPulledPayloadCompletesThePull) {
  StartServer();
  SendAll(raw, MessageBytes(SourceRequest(0, 1 << 20)) + Pattern(5000, 1));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  Buffer block = host.blocks.Take();
  absl::Span<std::byte> room = block.payload();
  Errno error;
  end.Pull(end.held[0], room, std::move(block),
           [&](Result<Connection::Pulled> result) { error = result.error(); });
  Rounds(2);
  raw.reset();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_EQ(error, Errno(ENOTCONN));
  EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
  EXPECT_EQ(host.blocks_used(), 0u);
}

TEST_F(TcpConnectionTest, APayloadThatGoesThroughAFileIsThereWhenThePullCompletes) {
  StartServer();
  UniqueFd file(memfd_create("tcp_connection_test", MFD_CLOEXEC));
  auto owner = std::make_shared<int>();
  const std::string payload = Pattern(500'000, 1);
  SendAll(raw, MessageBytes(SourceRequest(0, 500'000)) + payload + MessageBytes(Request(1)));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  Buffer block = host.blocks.Take();
  const auto room = block.payload().first(payload.size());
  size_t written = 0;
  end.connection->PullThrough(end.held[0], {file.get(), 100, payload.size(), owner}, room,
                              std::move(block), [&](Result<Connection::Pulled> result) {
                                ASSERT_TRUE(result.ok());
                                EXPECT_TRUE(result->head.empty());
                                EXPECT_TRUE(result->rest.empty());
                                written = result->written;
                              });
  EXPECT_EQ(owner.use_count(), 2);
  ASSERT_TRUE(Until([&] { return end.held.size() == 2; }));
  EXPECT_EQ(written, payload.size());
  EXPECT_EQ(owner.use_count(), 1);
  std::string got(payload.size(), '\0');
  EXPECT_EQ(pread(file.get(), got.data(), got.size(), 100), static_cast<ssize_t>(got.size()));
  EXPECT_TRUE(got == payload);
}

TEST_F(TcpConnectionTest, AnEndInTheMiddleOfAPayloadThroughAFileCompletesThePull) {
  StartServer();
  UniqueFd file(memfd_create("tcp_connection_test", MFD_CLOEXEC));
  SendAll(raw, MessageBytes(SourceRequest(0, 1 << 20)) + Pattern(5000, 1));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  auto owner = std::make_shared<int>();
  Buffer block = host.blocks.Take();
  const auto room = block.payload();
  Errno error;
  end.connection->PullThrough(
      end.held[0], {file.get(), 0, 1 << 20, owner}, room, std::move(block),
      [&](Result<Connection::Pulled> result) { error = result.error(); });
  Rounds(2);
  raw.reset();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_EQ(error, Errno(ENOTCONN));
  EXPECT_EQ(owner.use_count(), 1);
  EXPECT_EQ(host.blocks_used(), 0u);
}

TEST_F(TcpConnectionTest, AReplyMayPushAFile) {
  StartServer();
  UniqueFd file(memfd_create("tcp_connection_test", MFD_CLOEXEC));
  const std::string payload = Pattern(500'000, 1);
  ASSERT_EQ(write(file.get(), payload.data(), payload.size()),
            static_cast<ssize_t>(payload.size()));
  wire::MessageHeader call = Request(0);
  call.flags = wire::kFlagSink;
  call.remote_size = 1 << 20;
  SendAll(raw, MessageBytes(call));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  end.held.clear();
  Outgoing reply;
  reply.push_file = {file.get(), 100, 400'000, nullptr};
  end.Answer(call, std::move(reply));
  std::string got(sizeof(wire::MessageHeader) + 400'000, '\0');
  std::atomic<bool> read{false};
  std::thread reader([&] {
    EXPECT_EQ(recv(raw.get(), got.data(), got.size(), MSG_WAITALL),
              static_cast<ssize_t>(got.size()));
    read = true;
  });
  EXPECT_TRUE(Until([&] { return read.load(); }));
  shutdown(raw.get(), SHUT_RD);  // ends the reader if that was false
  reader.join();
  wire::MessageHeader header;
  std::memcpy(&header, got.data(), sizeof header);
  EXPECT_EQ(header.remote_size, 400'000u);
  EXPECT_TRUE(got.substr(sizeof header) == payload.substr(100, 400'000));
}

TEST_F(TcpConnectionTest, AResetIsHeardWhileAPayloadWaitsForItsPull) {
  StartServer();
  SendAll(raw, MessageBytes(SourceRequest(0, 1 << 20)) + Pattern(5000, 1));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  Reset(raw);
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
}

TEST_F(TcpConnectionTest, AResetDropsWhatCallsInFlightHold) {
  StartClient();
  PostCall(wire::kFlagSink, host.blocks.Take(), 4096);
  Rounds(2);
  EXPECT_EQ(host.blocks_used(), 1u);
  Reset(raw);
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
  EXPECT_EQ(host.blocks_used(), 0u);
}

TEST_F(TcpConnectionTest, AHalfClosedPeerIsGone) {
  StartServer();
  SendAll(raw, MessageBytes(Request(0)));
  shutdown(raw.get(), SHUT_WR);
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_EQ(end.message_count, 1u);
  EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
}

TEST_F(TcpConnectionTest, APeerWithMoreCallsOutstandingThanThereAreSlotsIsCutOff) {
  StartServer();
  std::string flood;
  for (int i = 0; i < wire::kMaxCredits + 50; ++i) flood += MessageBytes(Request(0), "more");
  SendAll(raw, flood);
  ExpectBrokenProtocol("outstanding");
  EXPECT_EQ(end.held.size(), wire::kMaxCredits + 2u);
}

TEST_F(TcpConnectionTest, APeerThatTakesNoRepliesIsCutOffBeforeTheyFillTheMemory) {
  Start(TcpConnection::Role::kServer, 16 << 10);
  Buffer block = host.Filled(4096, 1);
  end.on_message = [&](ContractEnd& server, ReceivedMessage request) {
    const wire::MessageHeader header = request.header();
    request.Drop();
    Outgoing reply;
    reply.inline_payload = block.payload().first(4096);
    reply.hold = block;
    server.Answer(header, std::move(reply));
  };
  std::thread flood([&] {
    const std::string call = MessageBytes(Request(0));
    while (send(raw.get(), call.data(), call.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  ExpectBrokenProtocol("outstanding");
  flood.join();
}

TEST_F(TcpConnectionTest, AServerReadsNoFurtherThanAPayloadThatNobodyPulls) {
  StartServer();
  std::thread writer([&] {
    const std::string frame = MessageBytes(SourceRequest(0, 1 << 20)) + Pattern(1 << 20, 1);
    while (send(raw.get(), frame.data(), frame.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  Rounds(20);
  EXPECT_EQ(end.held.size(), 1u);
  EXPECT_LE(end.connection->counters().bytes_received.load(), 64u << 10);
  end.held.clear();
  end.Close();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  writer.join();
}

TEST_F(TcpConnectionTest, OnlyTheFirstOfARunOfWritesHasAHead) {
  StartServer();
  constexpr uint32_t kSize = 200'000;
  std::string frames;
  for (uint16_t slot = 0; slot < 4; ++slot) {
    frames += MessageBytes(SourceRequest(slot, kSize), "where to") + Pattern(kSize, slot);
  }
  std::thread writer([&] { SendAll(raw, frames); });
  Buffer block = host.blocks.Take();
  std::vector<size_t> heads;
  end.on_message = [&](ContractEnd&, ReceivedMessage message) {
    const uint16_t slot = message.header().slot;
    EXPECT_EQ(AsText(message.body()), "where to");
    end.held.push_back(std::move(message));
    end.Pull(end.held.back(), block.payload().first(kSize), block,
             [&, slot](Result<Connection::Pulled> result) {
               ASSERT_TRUE(result.ok());
               EXPECT_TRUE(HasPattern(result->head, slot));
               EXPECT_TRUE(HasPattern(result->rest, slot, result->head.size()));
               heads.push_back(result->head.size());
             });
  };
  ASSERT_TRUE(Until([&] { return heads.size() == 4; }));
  writer.join();
  EXPECT_GT(heads[0], 0u);
  EXPECT_EQ(heads[1] + heads[2] + heads[3], 0u);
  EXPECT_EQ(end.connection->counters().copied_bytes.load(), 0u);
}

}  // namespace
}  // namespace rdmafs
