// RawClient: says to a server exactly what a test wants it to say.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "transport/base/clock.h"
#include "transport/base/event_loop.h"
#include "transport/connection.h"
#include "transport/wire/messages.h"

namespace rdmafs::server {

struct RawAnswer {
  wire::MessageHeader header{};
  std::vector<std::byte> body;
  std::string inline_payload;
  Errno status() const { return Errno(static_cast<int>(header.status)); }
  template <typename Message>
  Message Decode() const {
    Message message;
    wire::Decoder decoder(body);
    CHECK(message.Code(decoder) && decoder.AtEnd());
    return message;
  }
};
struct RawPayload {
  std::string inline_payload;
  absl::Span<std::byte> exposed;  // in `hold`
  bool sink = false;
  Buffer hold;
};

// Used by one thread, which it makes wait for answers, 20 s at most.
class RawClient final : public ConnectionHandler {
 public:
  using Answer = RawAnswer;
  using Payload = RawPayload;

  RawClient(Transport& transport, BufferPool& messages, uint16_t port);
  ~RawClient() override;  // closes and waits for the end

  // Sends a request as it should be, in `slot`; the slot's sequence goes on.
  template <typename Message>
  void Send(const Message& message, uint16_t slot, Payload payload = {}) {
    std::byte space[wire::kMaxBodyBytes];
    SendBody(Message::kOpcode, wire::Encode(message, absl::MakeSpan(space)), slot,
             std::move(payload));
  }
  void SendBody(wire::Opcode opcode, absl::Span<const std::byte> body, uint16_t slot,
                Payload payload = {});
  // Says the slot's last call again, as it was.
  template <typename Message>
  void SendAgain(const Message& message, uint16_t slot, Payload payload = {}) {
    --sequences_[slot];
    Send(message, slot, std::move(payload));
  }
  // Comes back in the place of `lost`, whose connection may still be open: with its session and its
  // slots' sequences.
  Answer ComeBackAs(const RawClient& lost, uint32_t epoch = 1);
  // Sends any header with any body.
  void SendRaw(wire::MessageHeader header, absl::Span<const std::byte> body, Payload payload = {});
  // The answer to the slot's last call.
  Answer Wait(uint16_t slot);
  bool Answered(uint16_t slot) const { return answers_.contains(slot); }
  template <typename Message>
  Answer Ask(const Message& message, Payload payload = {}, uint16_t slot = 0) {
    Send(message, slot, std::move(payload));
    return Wait(slot);
  }

  // A new session, or the one given; attached to "/export" in Enter().
  Answer Hello(uint64_t session0 = 0, uint64_t session1 = 0, uint16_t channel = 0,
               uint32_t epoch = 0);
  wire::FileHandle Enter();
  wire::FileHandle Lookup(const wire::FileHandle& root, std::string_view name);
  Errno Open(const wire::FileHandle& handle, wire::OpenId id, uint32_t flags);

  // Waits until the server has closed the connection.
  void AwaitClosed();
  bool closed() const { return closed_; }
  void Close() { connection_->Close(absl::CancelledError("test")); }

  uint32_t sequence(uint16_t slot) const {
    return sequences_.contains(slot) ? sequences_.at(slot) : 0;
  }
  uint64_t session[2] = {0, 0};

  void OnMessage(Connection&, ReceivedMessage message) override;
  void OnClosed(Connection&, const absl::Status& reason) override {
    closed_ = true;
    close_reason = std::string(reason.message());
  }
  std::string close_reason;

 private:
  template <typename Condition>
  void RunUntil(Condition condition);

  BufferPool& messages_;
  MonotonicClock clock_;
  EventLoop loop_{clock_};
  std::unique_ptr<Connection> connection_;
  std::map<uint16_t, uint32_t> sequences_;
  std::map<uint16_t, Answer> answers_;
  bool closed_ = false;
};

}  // namespace rdmafs::server
