// The transport contract: payload goes where it belongs, and memory is held exactly as long as
// needed.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/contract/transport_contract.h"

namespace rdmafs {
namespace {

constexpr size_t kSizes[] = {1,      39, 40, 41, 4095, 4096, 4097, 65536, 100'001, (1 << 20) - 1,
                             1 << 20};

bool Untouched(absl::Span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0xee}; });
}

}  // namespace

TEST_P(TransportContract, APushedPayloadIsThereBeforeItsReply) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (size_t size : kSizes) {
    SCOPED_TRACE(size);
    Buffer sink = client_host.blocks.Take();
    std::fill_n(sink.data(), sink.size(), std::byte{0xee});
    ASSERT_EQ(client.Post(SinkCall(0, sink, size)), kOk);
    ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
    const wire::MessageHeader header = server.held[0].header();
    server.held.clear();
    EXPECT_EQ(header.remote_size, size);

    bool there = false;
    client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
      there = HasPattern(sink.payload().first(size), 9);
      EXPECT_EQ(reply.header().remote_size, size);
    };
    Buffer source = server_host.Filled(size, 9);
    Outgoing reply;
    reply.push = source.payload().first(size);
    reply.hold = std::move(source);
    server.Answer(header, std::move(reply));
    const size_t before = client.message_count;
    ASSERT_TRUE(Until([&] { return client.message_count == before + 1; }));
    EXPECT_TRUE(there);
    EXPECT_TRUE(Untouched(sink.payload().subspan(size)));
  }
  EXPECT_EQ(client.connection->counters().copied_bytes.load(), 0u);
  EXPECT_EQ(server.connection->counters().copied_bytes.load(), 0u);
}

// Where a transport has no use for that it is in memory, as ever.
TEST_P(TransportContract, APushedPayloadThatMayComeByPipeIsThereOrInMemory) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (size_t size : kSizes) {
    SCOPED_TRACE(size);
    Buffer sink = client_host.blocks.Take();
    Outgoing call = SinkCall(0, sink, size);
    call.by_pipe = true;
    ASSERT_EQ(client.Post(std::move(call)), kOk);
    ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
    const wire::MessageHeader header = server.held[0].header();
    server.held.clear();

    bool there = false;
    client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
      PayloadPipe* const pipe = reply.payload_pipe();
      const std::string taken = pipe != nullptr ? TakenFrom(*pipe) : "";
      there = pipe != nullptr ? taken.size() == size && HasPattern(AsBytes(taken), 9)
                              : HasPattern(sink.payload().first(size), 9);
    };
    Outgoing reply;
    reply.hold = server_host.Filled(size, 9);
    reply.push = reply.hold.payload().first(size);
    server.Answer(header, std::move(reply));
    const size_t before = client.message_count;
    ASSERT_TRUE(Until([&] { return client.message_count == before + 1; }));
    EXPECT_TRUE(there);
  }
}

TEST_P(TransportContract, APushMayBeShorterThanItsSink) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.blocks.Take();
  std::fill_n(sink.data(), sink.size(), std::byte{0xee});
  ASSERT_EQ(client.Post(SinkCall(0, sink, 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Buffer source = server_host.Filled(5000, 4);
  Outgoing reply;
  reply.push = source.payload().first(5000);
  reply.hold = std::move(source);
  server.Answer(server.held[0].header(), std::move(reply));
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  EXPECT_EQ(client.held[0].header().remote_size, 5000u);
  EXPECT_TRUE(HasPattern(sink.payload().first(5000), 4));
  EXPECT_EQ(sink.data()[5000], std::byte{0xee});
}

TEST_P(TransportContract, ASinkThatGetsNothingIsLeftAlone) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.Filled(1 << 20, 3);
  ASSERT_EQ(client.Post(SinkCall(0, sink, 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Outgoing reply;
  reply.header.status = EIO;
  server.Answer(server.held[0].header(), std::move(reply));
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  EXPECT_EQ(client.held[0].header().remote_size, 0u);
  EXPECT_TRUE(HasPattern(sink.payload(), 3));
}

TEST_P(TransportContract, APulledPayloadIsWhole) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (size_t size : kSizes) {
    SCOPED_TRACE(size);
    ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(size, 5), size)), kOk);
    ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
    Buffer destination = server_host.blocks.Take();
    std::fill_n(destination.data(), destination.size(), std::byte{0xee});
    bool done = false;
    server.Pull(server.held[0], destination.payload().first(size), destination,
                [&](Result<Connection::Pulled> result) {
                  ASSERT_TRUE(result.ok()) << result.error().ToString();
                  EXPECT_EQ(result->head.size() + result->rest.size(), size);
                  EXPECT_EQ(result->rest.data(), destination.data());
                  EXPECT_TRUE(HasPattern(result->head, 5));
                  EXPECT_TRUE(HasPattern(result->rest, 5, result->head.size()));
                  done = true;
                });
    ASSERT_TRUE(Until([&] { return done; }));
    EXPECT_TRUE(Untouched(destination.payload().subspan(size)));
    server.Answer(server.held[0].header());
    server.held.clear();
    ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
    client.held.clear();
  }
  EXPECT_EQ(server.connection->counters().copied_bytes.load(), 0u);
}

// Calls, sinks and sources of all sizes together, as a busy mount has them.
TEST_P(TransportContract, PushesPullsAndPlainCallsGoTogether) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  constexpr uint32_t kCalls = 600;
  constexpr uint16_t kDepth = 32;
  std::vector<Buffer> sinks(kDepth);
  size_t replies = 0;
  auto size_of = [](uint32_t number) {
    return number % 5 == 0 ? 300'000 + number : 4097 + number * 13;
  };
  auto post = [&](uint16_t slot) {
    const uint32_t next = sequence + 1;
    if (next % 3 == 0) {
      sinks[slot] = client_host.blocks.Take();
      ASSERT_EQ(client.Post(SinkCall(slot, sinks[slot], size_of(next))), kOk);
    } else if (next % 3 == 1) {
      ASSERT_EQ(
          client.Post(SourceCall(slot, client_host.Filled(size_of(next), next), size_of(next))),
          kOk);
    } else {
      ASSERT_EQ(client.Post(Call(slot)), kOk);
    }
  };
  server.on_message = [&](ContractEnd& end, ReceivedMessage request) {
    const wire::MessageHeader header = request.header();
    if ((header.flags & wire::kFlagSource) != 0) {
      Buffer destination = server_host.blocks.Take();
      const size_t size = header.remote_size;
      // `request` moves into the completion, so that the view of the head stands until then.
      auto kept = std::make_shared<ReceivedMessage>(std::move(request));
      end.Pull(*kept, destination.payload().first(size), destination,
               [&end, kept, destination, header](Result<Connection::Pulled> result) {
                 if (!result.ok()) return;
                 EXPECT_TRUE(HasPattern(result->head, header.sequence));
                 EXPECT_TRUE(HasPattern(result->rest, header.sequence, result->head.size()));
                 kept->Drop();
                 end.Answer(header);
               });
      return;
    }
    Outgoing reply;
    if ((header.flags & wire::kFlagSink) != 0) {
      reply.hold = server_host.Filled(header.remote_size, header.sequence);
      reply.push = reply.hold.payload().first(header.remote_size);
    }
    request.Drop();
    end.Answer(header, std::move(reply));
  };
  client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    const wire::MessageHeader header = reply.header();
    if (header.sequence % 3 == 0) {
      EXPECT_EQ(header.remote_size, size_of(header.sequence));
      EXPECT_TRUE(
          HasPattern(sinks[header.slot].payload().first(header.remote_size), header.sequence));
      sinks[header.slot] = Buffer();
    }
    ++replies;
    reply.Drop();
    if (sequence < kCalls) post(header.slot);
  };
  for (uint16_t slot = 0; slot < kDepth; ++slot) post(slot);
  ASSERT_TRUE(Until([&] { return replies == kCalls; }));
  EXPECT_EQ(client.connection->counters().copied_bytes.load(), 0u);
  EXPECT_EQ(server.connection->counters().copied_bytes.load(), 0u);
  EXPECT_TRUE(
      Until([&] { return client_host.blocks_used() == 0 && server_host.blocks_used() == 0; }));
}

TEST_P(TransportContract, ACallMayBeAnsweredWithoutPullingItsPayload) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (size_t size : kSizes) {
    SCOPED_TRACE(size);
    ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(size, 5), size)), kOk);
    ASSERT_EQ(client.Post(Call(1)), kOk);
    ASSERT_TRUE(Until([&] { return !server.held.empty(); }));
    Outgoing refusal;
    refusal.header.status = EROFS;
    const wire::MessageHeader refused = server.held[0].header();
    server.held.erase(server.held.begin());
    server.Answer(refused, std::move(refusal));
    ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
    server.Answer(server.held[0].header());
    server.held.clear();
    ASSERT_TRUE(Until([&] { return client.held.size() == 2; }));
    EXPECT_EQ(client.held[0].header().slot, 0);
    EXPECT_EQ(client.held[0].header().status, static_cast<uint32_t>(EROFS));
    EXPECT_EQ(client.held[1].header().slot, 1);
    client.held.clear();
    EXPECT_TRUE(Until([&] { return client_host.blocks_used() == 0; }));
  }
}

TEST_P(TransportContract, APullMayComeLongAfterItsRequest) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  constexpr size_t kSize = 700'000;
  ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(kSize, 6), kSize)), kOk);
  ASSERT_EQ(client.Post(Call(1)), kOk);
  ASSERT_TRUE(Until([&] { return !server.held.empty(); }));
  Rounds(5);
  Buffer destination = server_host.blocks.Take();
  bool done = false;
  server.Pull(server.held[0], destination.payload().first(kSize), destination,
              [&](Result<Connection::Pulled> result) {
                ASSERT_TRUE(result.ok());
                EXPECT_TRUE(HasPattern(result->head, 6));
                EXPECT_TRUE(HasPattern(result->rest, 6, result->head.size()));
                done = true;
              });
  ASSERT_TRUE(Until([&] { return done && server.held.size() == 2; }));
  EXPECT_EQ(server.held[1].header().slot, 1);
}

TEST_P(TransportContract, TheMemoryOfACallIsHeldUntilItsReply) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  ASSERT_EQ(client.Post(SinkCall(0, client_host.blocks.Take(), 4096)), kOk);
  ASSERT_EQ(client.Post(SourceCall(1, client_host.Filled(8192, 1), 8192)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 2; }));
  Rounds(5);
  EXPECT_EQ(client_host.blocks_used(), 2u);
  server.Answer(server.held[0].header());
  ASSERT_TRUE(Until([&] { return client.message_count == 1; }));
  EXPECT_EQ(client_host.blocks_used(), 1u);
  server.Answer(server.held[1].header());
  ASSERT_TRUE(Until([&] { return client.message_count == 2; }));
  EXPECT_EQ(client_host.blocks_used(), 0u);
}

TEST_P(TransportContract, TheMemoryOfAPushIsHeldUntilItIsSentAndOfAPullUntilItIsThere) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.blocks.Take();
  ASSERT_EQ(client.Post(SinkCall(0, sink, 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Outgoing reply;
  reply.hold = server_host.Filled(1 << 20, 8);
  reply.push = reply.hold.payload();
  server.Answer(server.held[0].header(), std::move(reply));
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  EXPECT_TRUE(HasPattern(sink.payload(), 8));
  EXPECT_TRUE(Until([&] { return server_host.blocks_used() == 0; }));

  server.held.clear();
  ASSERT_EQ(client.Post(SourceCall(1, sink, 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Buffer destination = server_host.blocks.Take();
  absl::Span<std::byte> room = destination.payload();
  bool done = false;
  server.Pull(server.held[0], room, std::move(destination), [&](Result<Connection::Pulled> result) {
    ASSERT_TRUE(result.ok());
    EXPECT_TRUE(HasPattern(result->rest, 8, result->head.size()));
    done = true;
  });
  EXPECT_EQ(server_host.blocks_used(), 1u);
  ASSERT_TRUE(Until([&] { return done; }));
  EXPECT_TRUE(Until([&] { return server_host.blocks_used() == 0; }));
}

TEST_P(TransportContract, APushBeyondItsSinkEndsTheConnectionAndWritesNothingBehindIt) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.blocks.Take();
  std::fill_n(sink.data(), sink.size(), std::byte{0xee});
  ASSERT_EQ(client.Post(SinkCall(0, sink, 4096)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  wire::MessageHeader header = server.held[0].header();
  header.remote_size = 8192;  // what a server with a fault might believe
  server.held.clear();
  Outgoing reply;
  reply.hold = server_host.Filled(8192, 1);
  reply.push = reply.hold.payload().first(8192);
  server.Answer(header, std::move(reply));
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(client.message_count, 0u);
  EXPECT_TRUE(Untouched(sink.payload().subspan(4096)));
}

}  // namespace rdmafs
