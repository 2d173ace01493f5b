// The contract suite of the transport seam (transport/connection.h): its parameter and its fixture.
//
// A transport's test program links rdmafs_transport_contract and says, at namespace rdmafs:
//   INSTANTIATE_TEST_SUITE_P(Tcp, TransportContract, testing::Values(ContractTransport{...}));
// One that can expose memory by windows says so once more with MemoryExposure::kWindow in the
// resources that `make` hands on, and instantiates WindowContract with that, too.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "transport/connection.h"

namespace rdmafs {

// A transport under test.
struct ContractTransport {
  std::string name;
  // Called once for each side of a test.
  std::function<std::unique_ptr<Transport>(TransportResources)> make;
  Endpoint listen{"127.0.0.1", 0};
  std::string connect_host = "127.0.0.1";
  friend std::ostream& operator<<(std::ostream& out, const ContractTransport& t) {
    return out << t.name;
  }
};

// What one side of a connection has for itself.
struct ContractHost {
  explicit ContractHost(const ContractTransport& under_test);
  // A block filled with a pattern that `seed` chooses.
  Buffer Filled(size_t size, uint32_t seed);
  uint64_t blocks_used() const { return blocks.statistics().used_count; }

  MonotonicClock clock;
  Arena arena;
  BufferPool messages;
  BufferPool blocks;  // payload
  std::unique_ptr<Transport> transport;
};

// Byte i of the pattern.
std::byte PatternByte(uint32_t seed, size_t i);
bool HasPattern(absl::Span<const std::byte> bytes, uint32_t seed, size_t first = 0);
absl::Span<const std::byte> AsBytes(std::string_view text);
std::string AsText(absl::Span<const std::byte> bytes);
// What `pipe` hands on, without its head.
std::string TakenFrom(PayloadPipe& pipe);

// One end of a connection under test: owns it and records what its handler is told.
class ContractEnd : public ConnectionHandler {
 public:
  using OnMessageFunction = std::function<void(ContractEnd&, ReceivedMessage)>;

  explicit ContractEnd(ContractHost& owner) : host(owner) {}
  ~ContractEnd() override;

  void OnMessage(Connection& from, ReceivedMessage message) override;
  void OnClosed(Connection& from, const absl::Status& reason) override;

  // Posts, and sees to it that nothing is called back from inside.
  Errno Post(Outgoing message);
  void Close(absl::Status reason = absl::CancelledError("test"));
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Connection::Pulled> reply);
  // Answers `request` with its own slot, sequence and opcode.
  void Answer(const wire::MessageHeader& request, Outgoing reply = {});

  ContractHost& host;
  std::unique_ptr<Connection> connection;
  OnMessageFunction on_message;  // none: the messages are kept in `held`
  std::function<void()> on_closed;
  bool started = false;
  bool destroy_when_closed = false;
  std::vector<ReceivedMessage> held;
  size_t message_count = 0;
  size_t closed_count = 0;
  absl::Status reason;

 private:
  bool inside_ = false;  // Post, Pull or Close is on the stack
};

// Both ends and the listener live on one loop, which the test's thread turns.
class TransportContract : public testing::TestWithParam<ContractTransport> {
 protected:
  TransportContract();
  ~TransportContract() override;

  // A connected pair, not started. `credits` is what both sides offer.
  void Connect(uint16_t credits = wire::kDefaultCredits);
  // Another one, into the given ends.
  void Connect(ContractEnd& client_end, ContractEnd& server_end,
               uint16_t credits = wire::kDefaultCredits);
  void Start(ContractEnd& end);
  void ConnectAndStart(uint16_t credits = wire::kDefaultCredits);
  // Turns the loop until `condition` holds; false when it does not within the deadline.
  [[nodiscard]] bool Until(const std::function<bool()>& condition);
  // Turns the loop a few times, for what must not happen.
  void Rounds(int count);
  // Closes what is still open and waits for the ends of it.
  void Finish(ContractEnd& end);

  // A call in `slot`; sequence numbers count by themselves.
  Outgoing Call(uint16_t slot);
  Outgoing SinkCall(uint16_t slot, Buffer sink, size_t size);
  Outgoing SourceCall(uint16_t slot, Buffer source, size_t size);

  ContractHost client_host, server_host;
  MonotonicClock clock;
  EventLoop loop;
  ContractEnd client, server;
  uint32_t sequence = 0;
};

// With memory windows. Where the device has none, the connection says so in exposure(), and there
// is nothing to be tested here.
class WindowContract : public TransportContract {
 protected:
  void SetUp() override;
  // The server's view of a call in `slot` that exposes `memory`.
  wire::MessageHeader Exposed(uint16_t slot, uint16_t flags, absl::Span<std::byte> memory,
                              Buffer hold);
  // Answers `request`, pushing `size` bytes of pattern 1 to where it says.
  void Push(const wire::MessageHeader& request, size_t size);
  void ExpectNoReachAfter(Outgoing reply);
  void ExpectRefused();
  void ExpectRangeIsKept(int64_t offset);
};

}  // namespace rdmafs
