// The transport contract with memory windows: a call's memory is within the server's reach in its
// own range and direction only, and until its reply only.
#include <algorithm>

#include "tests/contract/transport_contract.h"

namespace rdmafs {
namespace {

constexpr size_t kSize = 8192;

bool Untouched(absl::Span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0xee}; });
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WindowContract);

void WindowContract::SetUp() {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  const std::string exposure = client.connection->exposure();
  // Nothing but a device that has none (Soft-iWARP) is a reason to go without.
  if (exposure.find(": it has none") != std::string::npos) GTEST_SKIP() << exposure;
  ASSERT_EQ(exposure.substr(0, 6), "window") << exposure;
}

wire::MessageHeader WindowContract::Exposed(uint16_t slot, uint16_t flags,
                                            absl::Span<std::byte> memory, Buffer hold) {
  Outgoing call = Call(slot);
  call.header.flags = flags;
  call.exposed = memory;
  call.hold = std::move(hold);
  EXPECT_EQ(client.Post(std::move(call)), kOk);
  EXPECT_TRUE(Until([&] { return server.held.size() == 1; }));
  const wire::MessageHeader header = server.held.at(0).header();
  server.held.clear();
  return header;
}

void WindowContract::Push(const wire::MessageHeader& request, size_t size) {
  Outgoing reply;
  reply.hold = server_host.Filled(size, 1);
  reply.push = reply.hold.payload().first(size);
  server.Answer(request, std::move(reply));
}

void WindowContract::ExpectRefused() {
  EXPECT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(client.message_count, 0u);
  EXPECT_TRUE(absl::IsInvalidArgument(server.reason)) << server.reason;
}

TEST_P(WindowContract, EveryCallHasAnRkeyThatItsPredecessorDidNotHave) {
  Buffer sink = client_host.blocks.Take();
  uint32_t last = 0;
  for (int i = 0; i < 10; ++i) {
    const wire::MessageHeader call = Exposed(0, wire::kFlagSink, sink.payload().first(kSize), sink);
    EXPECT_NE(call.rkey, last);
    last = call.rkey;
    Push(call, kSize);
    ASSERT_TRUE(Until([&] { return client.held.size() == 1; })) << client.reason;
    EXPECT_TRUE(HasPattern(sink.payload().first(kSize), 1));
    client.held.clear();
  }
}

// Each slot goes through all the keys that its window can have, and through them again.
TEST_P(WindowContract, AWindowServesTenThousandCalls) {
  constexpr uint32_t kCalls = 10'000;
  constexpr uint16_t kDepth = 16;
  constexpr size_t kSmall = 64;
  Buffer block = client_host.blocks.Take();
  Buffer destination = server_host.blocks.Take();
  uint32_t posted = 0, replies = 0;
  auto post = [&](uint16_t slot) {
    ++posted;
    const bool sink = sequence % 2 == 0;
    const size_t begin = (sequence * 64) % (block.size() - kSmall);
    Outgoing call = Call(slot);
    call.header.flags = sink ? wire::kFlagSink : wire::kFlagSource;
    call.exposed = block.payload().subspan(begin, kSmall);
    call.hold = block;
    ASSERT_EQ(client.Post(std::move(call)), kOk);
  };
  const Buffer pushed = server_host.Filled(kSmall, 1);
  server.on_message = [&](ContractEnd& end, ReceivedMessage request) {
    const wire::MessageHeader header = request.header();
    if ((header.flags & wire::kFlagSink) != 0) {
      request.Drop();
      Outgoing reply;
      reply.hold = pushed;
      reply.push = pushed.payload().first(kSmall);
      return end.Answer(header, std::move(reply));
    }
    auto kept = std::make_shared<ReceivedMessage>(std::move(request));
    end.Pull(*kept, destination.payload().first(kSmall), destination,
             [&end, kept](Result<Connection::Pulled> result) {
               if (!result.ok()) return;
               const wire::MessageHeader pulled = kept->header();
               kept->Drop();
               end.Answer(pulled);
             });
  };
  client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    const uint16_t slot = reply.header().slot;
    reply.Drop();
    ++replies;
    if (posted < kCalls) post(slot);
  };
  for (uint16_t slot = 0; slot < kDepth; ++slot) post(slot);
  for (uint32_t part = 1; part <= 10; ++part) {  // a slow device has its time for each
    if (!Until([&] { return replies >= kCalls / 10 * part || client.closed_count != 0; })) break;
  }
  EXPECT_EQ(client.closed_count, 0u) << client.reason;
  EXPECT_EQ(replies, kCalls);
  Finish(client);  // the handlers use what is about to go
  Finish(server);
}

// `reply` answers a call with a sink; what its rkey reached then is out of reach.
void WindowContract::ExpectNoReachAfter(Outgoing reply) {
  Buffer first = client_host.blocks.Take(), second = client_host.blocks.Take();
  const wire::MessageHeader before =
      Exposed(0, wire::kFlagSink, first.payload().first(kSize), first);
  server.Answer(before, std::move(reply));
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  client.held.clear();
  client.message_count = 0;
  std::fill_n(first.data(), first.size(), std::byte{0xee});
  wire::MessageHeader call = Exposed(1, wire::kFlagSink, second.payload().first(kSize), second);
  call.rkey = before.rkey;
  call.remote_address = before.remote_address;
  Push(call, kSize);
  ExpectRefused();
  EXPECT_TRUE(Untouched(first.payload()));
}

TEST_P(WindowContract, AWriteAfterTheReplyIsRefused) {
  Outgoing reply;
  reply.hold = server_host.Filled(kSize, 1);
  reply.push = reply.hold.payload().first(kSize);
  ExpectNoReachAfter(std::move(reply));
}

TEST_P(WindowContract, AWriteAfterAReplyThatIsAnErrorIsRefused) {
  Outgoing refusal;
  refusal.header.status = EIO;
  ExpectNoReachAfter(std::move(refusal));
}

TEST_P(WindowContract, AWriteToAnotherCallsSourceIsRefused) {
  Buffer source = client_host.blocks.Take(), sink = client_host.blocks.Take();
  std::fill_n(source.data(), source.size(), std::byte{0xee});
  const wire::MessageHeader other =
      Exposed(0, wire::kFlagSource, source.payload().first(kSize), source);
  wire::MessageHeader call = Exposed(1, wire::kFlagSink, sink.payload().first(kSize), sink);
  call.rkey = other.rkey;
  call.remote_address = other.remote_address;
  Push(call, kSize);
  ExpectRefused();
  EXPECT_TRUE(Untouched(source.payload()));
}

TEST_P(WindowContract, AReadOfAnotherCallsSinkIsRefused) {
  Buffer source = client_host.blocks.Take(), sink = client_host.blocks.Take();
  const wire::MessageHeader other = Exposed(0, wire::kFlagSink, sink.payload().first(kSize), sink);
  wire::MessageHeader call = Exposed(1, wire::kFlagSource, source.payload().first(kSize), source);
  call.rkey = other.rkey;
  call.remote_address = other.remote_address;
  const ReceivedMessage believed(call, {}, nullptr, nullptr, 0);
  Buffer destination = server_host.blocks.Take();
  Errno error;
  server.Pull(believed, destination.payload().first(kSize), destination,
              [&](Result<Connection::Pulled> result) { error = result.error(); });
  ExpectRefused();
  EXPECT_EQ(error, Errno(ENOTCONN));
}

// `offset`: from a range in the middle of a block to what the server writes instead.
void WindowContract::ExpectRangeIsKept(int64_t offset) {
  const std::string exposure = client.connection->exposure();
  Buffer block = client_host.blocks.Take();
  std::fill_n(block.data(), block.size(), std::byte{0xee});
  wire::MessageHeader call =
      Exposed(0, wire::kFlagSink, block.payload().subspan(kSize, kSize), block);
  call.remote_address += static_cast<uint64_t>(offset);
  Push(call, kSize);
  // A device that does not look at a window's range has been found out, and named, at the start.
  if (exposure != "window") {
    EXPECT_NE(exposure.find("range"), std::string::npos) << exposure;
    EXPECT_TRUE(Until([&] { return client.held.size() == 1; })) << "it does look";
    return;
  }
  ExpectRefused();
  EXPECT_TRUE(Untouched(block.payload().first(kSize)));
  EXPECT_TRUE(Untouched(block.payload().subspan(2 * kSize)));
}

TEST_P(WindowContract, AWriteThatBeginsBeforeTheRangeIsRefused) { ExpectRangeIsKept(-1); }

TEST_P(WindowContract, AWriteThatEndsBehindTheRangeIsRefused) { ExpectRangeIsKept(1); }

TEST_P(WindowContract, ALostConnectionGivesTheMemoryOfItsWindowsBack) {
  for (uint16_t slot = 0; slot < wire::kDefaultCredits; ++slot) {
    const uint16_t flags = slot % 2 == 0 ? wire::kFlagSink : wire::kFlagSource;
    Outgoing call = Call(slot);
    call.header.flags = flags;
    call.hold = client_host.blocks.Take();
    call.exposed = call.hold.payload();
    ASSERT_EQ(client.Post(std::move(call)), kOk);
  }
  ASSERT_TRUE(Until([&] { return server.held.size() == wire::kDefaultCredits; }));
  EXPECT_EQ(client_host.blocks_used(), wire::kDefaultCredits);
  server.held.clear();
  server.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(client_host.blocks_used(), 0u);

  // The device has let go of windows and memory alike: another connection does the same again.
  ContractEnd next_client(client_host), next_server(server_host);
  ASSERT_NO_FATAL_FAILURE(Connect(next_client, next_server));
  Start(next_server);
  Start(next_client);
  Buffer sink = client_host.blocks.Take();
  ASSERT_EQ(next_client.Post(SinkCall(0, sink, kSize)), kOk);
  ASSERT_TRUE(Until([&] { return next_server.held.size() == 1; }));
  Outgoing reply;
  reply.hold = server_host.Filled(kSize, 3);
  reply.push = reply.hold.payload().first(kSize);
  const wire::MessageHeader header = next_server.held[0].header();
  next_server.held.clear();
  next_server.Answer(header, std::move(reply));
  EXPECT_TRUE(Until([&] { return next_client.message_count == 1; }));
  EXPECT_TRUE(HasPattern(sink.payload().first(kSize), 3));
  Finish(next_client);
  Finish(next_server);
}

}  // namespace rdmafs
