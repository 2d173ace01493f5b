// A TcpConnection, and the raw socket that plays its peer.
#pragma once

#include <string>

#include "tests/contract/transport_contract.h"
#include "tests/transport/tcp/tcp_pair.h"
#include "transport/tcp/tcp_connection.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs {
inline ContractTransport Tcp() {
  return {.name = "Tcp", .make = [](TransportResources resources) {
            return std::make_unique<TcpTransport>(resources);
          }};
}

inline wire::MessageHeader Request(uint16_t slot, uint32_t sequence = 1) {
  wire::MessageHeader header{};
  header.opcode = 3;
  header.slot = slot;
  header.sequence = sequence;
  return header;
}

inline wire::MessageHeader SourceRequest(uint16_t slot, uint32_t size) {
  wire::MessageHeader header = Request(slot);
  header.flags = wire::kFlagSource;
  header.remote_size = size;
  return header;
}

inline wire::MessageHeader ReplyTo(uint16_t slot, uint32_t sequence = 1) {
  wire::MessageHeader header = Request(slot, sequence);
  header.flags = wire::kFlagReply;
  return header;
}

inline std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(PatternByte(seed, i));
  return bytes;
}

// One end under test, and the raw socket that plays its peer.
class TcpConnectionTest : public testing::Test {
 protected:
  TcpConnectionTest() : host(Tcp()), loop(clock), end(host) {}
  ~TcpConnectionTest() override {
    end.held.clear();
    if (end.connection == nullptr) return;
    if (end.closed_count == 0) {
      end.on_message = [](ContractEnd&, ReceivedMessage) {};
      end.Close();
    }
    EXPECT_TRUE(Until([&] { return end.closed_count == 1; }));
    Rounds(2);
    EXPECT_EQ(end.closed_count, 1u);
    end.connection.reset();
    EXPECT_EQ(pool->used_count(), 0u);
  }

  void Start(TcpConnection::Role role, int buffer_bytes = 0, Arena* lender = nullptr) {
    TcpPair pair = MakeTcpPair(buffer_bytes);
    raw = std::move(pair.raw);
    end.connection = std::make_unique<TcpConnection>(std::move(pair.ours), role, "raw", 64, pool,
                                                     nullptr, lender);
    end.connection->Start(loop, end);
  }
  void StartServer() { Start(TcpConnection::Role::kServer); }
  void StartClient() { Start(TcpConnection::Role::kClient); }

  [[nodiscard]] bool Until(const std::function<bool()>& condition) {
    const Nanoseconds deadline = clock.Now() + 20 * kSecond;
    while (!condition()) {
      if (clock.Now() > deadline) return false;
      loop.RunOnce(kMillisecond);
    }
    return true;
  }
  void Rounds(int count) {
    for (int i = 0; i < count; ++i) loop.RunOnce(kMillisecond);
  }
  // Posts a call of slot 0, sequence 1.
  void PostCall(uint16_t flags = 0, Buffer memory = Buffer(), size_t size = 0) {
    Outgoing call;
    call.header = Request(0);
    call.header.flags = flags;
    if (memory) call.exposed = memory.payload().first(size);
    call.hold = std::move(memory);
    ASSERT_EQ(end.Post(std::move(call)), kOk);
  }
  void ExpectBrokenProtocol(std::string_view because) {
    ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
    EXPECT_TRUE(absl::IsInvalidArgument(end.reason)) << end.reason;
    EXPECT_NE(end.reason.message().find(absl::string_view(because.data(), because.size())),
              absl::string_view::npos)
        << end.reason;
  }

  std::shared_ptr<StagingPool> pool = std::make_shared<StagingPool>();
  ContractHost host;
  MonotonicClock clock;
  EventLoop loop;
  ContractEnd end;
  UniqueFd raw;
};

}  // namespace rdmafs
