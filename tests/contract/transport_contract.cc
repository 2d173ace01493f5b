#include "tests/contract/transport_contract.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <thread>

namespace rdmafs {
namespace {

constexpr Nanoseconds kDeadline = 20 * kSecond;
constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kPatternPeriod = 256;  // within a page

// Bytes [first, first + size) of the pattern, in pieces that are made once a page: sanitizers make
// a loop over every byte take minutes.
template <typename Function>
void ForPatternPieces(size_t size, uint32_t seed, size_t first, Function function) {
  std::array<std::byte, kPatternPeriod> period;
  size_t page = SIZE_MAX;
  for (size_t at = 0; at < size;) {
    const size_t i = first + at;
    if (page != i >> 12) {
      page = i >> 12;
      for (size_t j = 0; j < kPatternPeriod; ++j) period[j] = PatternByte(seed, (page << 12) + j);
    }
    const size_t offset = i % kPatternPeriod;
    const size_t count = std::min(kPatternPeriod - offset, size - at);
    function(at, absl::MakeConstSpan(period).subspan(offset, count));
    at += count;
  }
}

}  // namespace

ContractHost::ContractHost(const ContractTransport& under_test)
    : messages(arena, {.payload_bytes = 8192,
                       .headroom_bytes = 0,
                       .tailroom_bytes = 0,
                       .cap_bytes = size_t{64} << 20,
                       .slab_bytes = size_t{2} << 20}),
      blocks(arena, {.payload_bytes = kBlockBytes, .cap_bytes = size_t{320} << 20}),
      transport(under_test.make({arena, messages, clock})) {}

Buffer ContractHost::Filled(size_t size, uint32_t seed) {
  Buffer block = blocks.Take();
  ForPatternPieces(size, seed, 0, [&](size_t at, absl::Span<const std::byte> piece) {
    std::memcpy(block.data() + at, piece.data(), piece.size());
  });
  return block;
}

std::byte PatternByte(uint32_t seed, size_t i) {
  // Differs between neighbours, pages and seeds, so that misplaced bytes do not go unnoticed.
  return static_cast<std::byte>((i * 31 + (i >> 12) * 7 + seed * 101 + 1) & 0xff);
}

bool HasPattern(absl::Span<const std::byte> bytes, uint32_t seed, size_t first) {
  bool same = true;
  ForPatternPieces(bytes.size(), seed, first, [&](size_t at, absl::Span<const std::byte> piece) {
    same = same && std::memcmp(bytes.data() + at, piece.data(), piece.size()) == 0;
  });
  return same;
}

absl::Span<const std::byte> AsBytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string TakenFrom(PayloadPipe& pipe) {
  UniqueFd file(memfd_create("transport_contract", MFD_CLOEXEC));
  std::string bytes(PayloadPipe::kHeadBytes + pipe.size(), 'h');
  EXPECT_EQ(pipe.MoveTo(file.get(), AsBytes(bytes).first(PayloadPipe::kHeadBytes)), kOk);
  EXPECT_EQ(pread(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes.substr(PayloadPipe::kHeadBytes);
}

std::string AsText(absl::Span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// --- ContractEnd ---

ContractEnd::~ContractEnd() { held.clear(); }

void ContractEnd::OnMessage(Connection& from, ReceivedMessage message) {
  EXPECT_FALSE(inside_) << "OnMessage from inside Post, Pull or Close";
  EXPECT_EQ(closed_count, 0u) << "OnMessage after OnClosed";
  EXPECT_EQ(&from, connection.get());
  ++message_count;
  if (on_message) {
    on_message(*this, std::move(message));
  } else {
    held.push_back(std::move(message));
  }
}

void ContractEnd::OnClosed(Connection& from, const absl::Status& why) {
  EXPECT_FALSE(inside_) << "OnClosed from inside Post, Pull or Close";
  EXPECT_EQ(&from, connection.get());
  EXPECT_FALSE(why.ok());
  ++closed_count;
  reason = why;
  if (on_closed) on_closed();
  if (destroy_when_closed) {
    held.clear();
    connection.reset();
  }
}

Errno ContractEnd::Post(Outgoing message) {
  inside_ = true;
  Errno error = connection->Post(std::move(message));
  inside_ = false;
  return error;
}

void ContractEnd::Close(absl::Status why) {
  inside_ = true;
  connection->Close(std::move(why));
  inside_ = false;
}

void ContractEnd::Pull(const ReceivedMessage& request, absl::Span<std::byte> destination,
                       Buffer hold, Reply<Connection::Pulled> reply) {
  inside_ = true;
  connection->Pull(request, destination, std::move(hold), std::move(reply));
  inside_ = false;
}

void ContractEnd::Answer(const wire::MessageHeader& request, Outgoing reply) {
  reply.header.opcode = request.opcode;
  reply.header.slot = request.slot;
  reply.header.sequence = request.sequence;
  reply.header.flags = wire::kFlagReply;
  reply.header.credits = wire::kDefaultCredits;
  reply.request_header = &request;
  if (!reply.push.empty()) {
    reply.header.remote_size = static_cast<uint32_t>(reply.push.size());
  }
  EXPECT_EQ(Post(std::move(reply)), kOk);
}

// --- TransportContract ---

TransportContract::TransportContract()
    : client_host(GetParam()),
      server_host(GetParam()),
      loop(clock),
      client(client_host),
      server(server_host) {
  EXPECT_TRUE(client_host.transport->Available().ok()) << client_host.transport->Available();
}

TransportContract::~TransportContract() {
  Finish(client);
  Finish(server);
}

void TransportContract::Connect(uint16_t credits) { Connect(client, server, credits); }

void TransportContract::Connect(ContractEnd& client_end, ContractEnd& server_end,
                                uint16_t credits) {
  const ConnectionOptions options{.credits = credits};
  auto listener = server_end.host.transport->Listen(
      GetParam().listen, options, loop,
      [&](std::unique_ptr<Connection> accepted) { server_end.connection = std::move(accepted); });
  ASSERT_TRUE(listener.ok()) << listener.status();
  const Endpoint peer{GetParam().connect_host, (*listener)->port()};
  // Connect() blocks, and some transports need the listener's loop meanwhile.
  absl::StatusOr<std::unique_ptr<Connection>> connected = absl::UnknownError("not yet");
  std::atomic<bool> done{false};
  std::thread connector([&] {
    connected = client_end.host.transport->Connect(peer, options);
    done = true;
  });
  const bool in_time =
      Until([&] { return done && (server_end.connection != nullptr || !connected.ok()); });
  connector.join();
  ASSERT_TRUE(connected.ok()) << connected.status();
  ASSERT_TRUE(in_time) << "nothing was accepted";
  client_end.connection = *std::move(connected);
}

void TransportContract::Start(ContractEnd& end) {
  end.started = true;
  end.connection->Start(loop, end);
}

void TransportContract::ConnectAndStart(uint16_t credits) {
  ASSERT_NO_FATAL_FAILURE(Connect(credits));
  Start(server);
  Start(client);
}

bool TransportContract::Until(const std::function<bool()>& condition) {
  const Nanoseconds deadline = clock.Now() + kDeadline;
  while (!condition()) {
    if (clock.Now() > deadline) return false;
    loop.RunOnce(kMillisecond);
  }
  return true;
}

void TransportContract::Rounds(int count) {
  for (int i = 0; i < count; ++i) loop.RunOnce(kMillisecond);
}

void TransportContract::Finish(ContractEnd& end) {
  end.held.clear();
  if (end.connection == nullptr) return;
  if (end.started) {  // else there is nobody to tell
    end.on_message = [](ContractEnd&, ReceivedMessage) {};
    end.Close();
    EXPECT_TRUE(Until([&] { return end.closed_count != 0; }));
    Rounds(3);
    EXPECT_EQ(end.closed_count, 1u) << "OnClosed did not come exactly once";
  }
  end.connection.reset();
}

Outgoing TransportContract::Call(uint16_t slot) {
  Outgoing call;
  call.header.opcode = 3;
  call.header.slot = slot;
  call.header.sequence = ++sequence;
  return call;
}

Outgoing TransportContract::SinkCall(uint16_t slot, Buffer sink, size_t size) {
  Outgoing call = Call(slot);
  call.header.flags = wire::kFlagSink;
  call.exposed = sink.payload().first(size);
  call.hold = std::move(sink);
  return call;
}

Outgoing TransportContract::SourceCall(uint16_t slot, Buffer source, size_t size) {
  Outgoing call = SinkCall(slot, std::move(source), size);
  call.header.flags = wire::kFlagSource;
  return call;
}

}  // namespace rdmafs
