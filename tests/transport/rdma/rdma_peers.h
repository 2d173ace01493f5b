// A server on a thread of its own and a client on the test's thread, over a real RDMA device.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/transport/rdma/test_address.h"
#include "transport/rdma/rdma_transport.h"

namespace rdmafs {

// What a test asks of the server, as opcodes.
enum TestOpcode : uint16_t {
  kEcho = 1,      // body and inline payload come back
  kPushPattern,   // fills the sink with Pattern(sequence)
  kPullChecksum,  // reads the source, answers with Checksum() as body
  kKeep,          // no answer before ReleaseKept()
  kCloseNow,      // the server closes
  kPushForeign,   // status: what Post() says of a push out of unregistered memory
};

inline std::byte Pattern(uint32_t sequence, size_t i) {
  return static_cast<std::byte>((i * 31 + (i >> 12) + sequence * 7) & 0xff);
}
inline void FillPattern(uint32_t sequence, absl::Span<std::byte> memory) {
  for (size_t i = 0; i < memory.size(); ++i) memory[i] = Pattern(sequence, i);
}
inline bool HasPattern(uint32_t sequence, absl::Span<const std::byte> memory) {
  for (size_t i = 0; i < memory.size(); ++i) {
    if (memory[i] != Pattern(sequence, i)) return false;
  }
  return true;
}
inline uint64_t Checksum(absl::Span<const std::byte> memory) {
  uint64_t sum = 14695981039346656037u;
  for (std::byte b : memory) sum = (sum ^ static_cast<uint64_t>(b)) * 1099511628211u;
  return sum;
}

template <typename T>
absl::Span<const std::byte> AsBytes(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

inline BufferPool::Options MessagePoolOptions() {
  BufferPool::Options options;
  options.payload_bytes = 8192;
  options.headroom_bytes = options.tailroom_bytes = 0;
  options.cap_bytes = size_t{16} << 20;
  options.slab_bytes = size_t{4} << 20;
  return options;
}
inline BufferPool::Options PayloadPoolOptions() {
  BufferPool::Options options;
  options.cap_bytes = size_t{80} << 20;
  options.slab_bytes = size_t{20} << 20;
  return options;
}

// Memory and transport of one side.
struct Side {
  explicit Side(MemoryExposure exposure = MemoryExposure::kCache)
      : messages(arena, MessagePoolOptions()),
        payload(arena, PayloadPoolOptions()),
        transport(TransportResources{arena, messages, clock, exposure}) {}
  MonotonicClock clock;
  Arena arena;
  BufferPool messages, payload;
  RdmaTransport transport;
};

// Accepts connections and answers TestOpcodes. Its handlers run on its thread.
class TestServer : private ConnectionHandler {
 public:
  explicit TestServer(Side& side, ConnectionOptions options = {}) : side_(side), loop_(side.clock) {
    auto listener =
        side.transport.Listen({TestAddress(), 0}, options, loop_,
                              [this](std::unique_ptr<Connection> c) { Accept(std::move(c)); });
    EXPECT_TRUE(listener.ok()) << listener.status();
    if (!listener.ok()) return;
    listener_ = *std::move(listener);
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~TestServer() override {
    if (!thread_.joinable()) return;
    OnLoop([this] {
      for (auto& connection : connections_) connection->Close(absl::CancelledError("test is over"));
      listener_.reset();
    });
    WaitUntil([this] { return connections_.empty(); });
    loop_.Stop();
    thread_.join();
  }

  Endpoint endpoint() const { return {TestAddress(), listener_->port()}; }

  // Runs `what` on the server's thread and waits for it.
  void OnLoop(std::function<void()> what) {
    absl::Notification done;
    loop_.Post([&] {
      what();
      done.Notify();
    });
    done.WaitForNotification();
  }
  bool WaitUntil(std::function<bool()> condition) {
    const Nanoseconds deadline = side_.clock.Now() + 20 * kSecond;
    bool holds = false;
    while (!holds && side_.clock.Now() < deadline) {
      OnLoop([&] { holds = condition(); });
      if (!holds) std::this_thread::yield();
    }
    return holds;
  }

  // On the server's thread only.
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<absl::Status> closed_;
  std::deque<ReceivedMessage> kept_;
  std::vector<Errno> pulled_;
  bool greet_ = false;  // send a reply to no call as soon as a connection is there
  bool close_on_accept_ = false;
  void ReleaseKept() {
    while (!kept_.empty()) {
      ReceivedMessage message = std::move(kept_.front());
      kept_.pop_front();
      Answer(*connections_.at(0), std::move(message));
    }
  }

 private:
  void Accept(std::unique_ptr<Connection> connection) {
    connections_.push_back(std::move(connection));
    Connection& added = *connections_.back();
    added.Start(loop_, *this);
    if (close_on_accept_) added.Close(absl::CancelledError("not wanted"));
    if (greet_) {
      Outgoing hello;
      hello.header.flags = wire::kFlagReply;
      EXPECT_EQ(added.Post(std::move(hello)), kOk);
    }
  }

  void OnMessage(Connection& connection, ReceivedMessage message) override {
    const uint16_t opcode = message.header().opcode;
    if (opcode == kKeep) {
      kept_.push_back(std::move(message));
    } else if (opcode == kCloseNow) {
      connection.Close(absl::CancelledError("asked to"));
    } else if (opcode == kPullChecksum) {
      Pull(connection, std::move(message));
    } else {
      Answer(connection, std::move(message));
    }
  }

  void Pull(Connection& connection, ReceivedMessage message) {
    Buffer buffer = side_.payload.Take();
    ASSERT_TRUE(buffer);
    auto kept = std::make_shared<ReceivedMessage>(std::move(message));
    const auto destination = buffer.payload().first(kept->header().remote_size);
    connection.Pull(*kept, destination, buffer,
                    [this, &connection, kept, buffer](Result<Connection::Pulled> pulled) mutable {
                      pulled_.push_back(pulled.error());
                      if (!pulled.ok()) return;
                      EXPECT_TRUE(pulled->head.empty());
                      const uint64_t sum = Checksum(pulled->rest);
                      Outgoing reply = ReplyTo(*kept);
                      reply.body = AsBytes(sum);
                      kept->Drop();
                      (void)connection.Post(std::move(reply));
                    });
  }

  static Outgoing ReplyTo(const ReceivedMessage& message) {
    Outgoing reply;
    reply.header.flags = wire::kFlagReply;
    reply.header.opcode = message.header().opcode;
    reply.header.slot = message.header().slot;
    reply.header.sequence = message.header().sequence;
    return reply;
  }

  void Answer(Connection& connection, ReceivedMessage message) {
    Outgoing reply = ReplyTo(message);
    const wire::MessageHeader header = message.header();
    std::vector<std::byte> body(message.body().begin(), message.body().end());
    reply.body = body;
    if (!message.inline_payload().empty()) {
      reply.hold = side_.payload.Take();
      std::memcpy(reply.hold.data(), message.inline_payload().data(),
                  message.inline_payload().size());
      reply.inline_payload = reply.hold.payload().first(message.inline_payload().size());
    }
    if (header.opcode == kPushPattern) {
      reply.hold = side_.payload.Take();
      const auto memory = reply.hold.payload().first(header.remote_size);
      FillPattern(header.sequence, memory);
      reply.push = memory;
      reply.request_header = &header;
    }
    std::vector<std::byte> foreign(100);
    if (header.opcode == kPushForeign) {
      Outgoing refused = ReplyTo(message);
      refused.push = foreign;
      refused.request_header = &header;
      reply.header.status = static_cast<uint32_t>(connection.Post(std::move(refused)).value());
    }
    message.Drop();
    (void)connection.Post(std::move(reply));
  }

  void OnClosed(Connection& connection, const absl::Status& reason) override {
    closed_.push_back(reason);
    kept_.clear();
    std::erase_if(connections_, [&](const auto& owned) { return owned.get() == &connection; });
  }

  Side& side_;
  EventLoop loop_;
  std::unique_ptr<Listener> listener_;
  std::thread thread_;
};

// Calls and gathers the replies, on the test's thread.
class TestClient : private ConnectionHandler {
 public:
  struct Received {
    wire::MessageHeader header;
    std::vector<std::byte> body, inline_payload;
  };

  explicit TestClient(Side& side) : side_(side), loop_(side.clock) {}
  ~TestClient() override {
    if (connection_ == nullptr || closed_count_ != 0) return;
    connection_->Close(absl::CancelledError("test is over"));
    EXPECT_TRUE(RunUntil([this] { return closed_count_ != 0; }));
  }

  absl::Status Connect(const Endpoint& endpoint, ConnectionOptions options = {}) {
    auto connection = side_.transport.Connect(endpoint, options);
    if (!connection.ok()) return connection.status();
    connection_ = *std::move(connection);
    connection_->Start(loop_, *this);
    return absl::OkStatus();
  }

  static Outgoing Call(uint16_t opcode, uint16_t slot, uint32_t sequence) {
    Outgoing call;
    call.header.opcode = opcode;
    call.header.slot = slot;
    call.header.sequence = sequence;
    return call;
  }
  bool RunUntil(const std::function<bool()>& condition) {
    const Nanoseconds deadline = side_.clock.Now() + 20 * kSecond;
    while (!condition() && side_.clock.Now() < deadline) loop_.RunOnce(100 * kMillisecond);
    return condition();
  }
  bool RunUntilReceived(size_t count) {
    return RunUntil([&] { return received_.size() >= count || closed_count_ != 0; }) &&
           received_.size() >= count;
  }
  bool RunUntilClosed() {
    return RunUntil([&] { return closed_count_ != 0; });
  }

  Connection& connection() { return *connection_; }
  EventLoop& loop() { return loop_; }

  std::vector<Received> received_;
  std::function<void(const wire::MessageHeader&)> on_reply_;
  std::deque<ReceivedMessage> messages_;  // when keep_messages_
  bool keep_messages_ = false;
  absl::Status closed_;
  int closed_count_ = 0;

 private:
  void OnMessage(Connection&, ReceivedMessage message) override {
    EXPECT_EQ(closed_count_, 0);
    received_.push_back({message.header(),
                         {message.body().begin(), message.body().end()},
                         {message.inline_payload().begin(), message.inline_payload().end()}});
    const wire::MessageHeader header = message.header();
    if (keep_messages_) {
      messages_.push_back(std::move(message));
    } else {
      message.Drop();
    }
    if (on_reply_) on_reply_(header);
  }
  void OnClosed(Connection&, const absl::Status& reason) override {
    ++closed_count_;
    closed_ = reason;
  }

  Side& side_;
  EventLoop loop_;
  std::unique_ptr<Connection> connection_;
};

}  // namespace rdmafs
