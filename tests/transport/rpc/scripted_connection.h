// A Connection whose other end is the test: it keeps what was posted, and answers when told to.
#pragma once

#include <algorithm>
#include <vector>

#include "transport/connection.h"
#include "transport/wire/messages.h"

namespace rdmafs {

class ScriptedConnection final : public Connection {
 public:
  // Outlives the connection, which CallChannel destroys.
  struct Script {
    std::vector<Outgoing> posted;
    std::vector<std::vector<std::byte>> bodies;
    ConnectionHandler* handler = nullptr;
    ScriptedConnection* connection = nullptr;
    Errno post_error;
    bool closed = false;
    absl::Status close_reason;

    // The reply to the call that was posted as number `index`, with `status` and `body`.
    void Answer(size_t index, uint32_t status = 0, absl::Span<const std::byte> body = {}) {
      wire::MessageHeader header = posted[index].header;
      header.flags = wire::kFlagReply;
      header.status = status;
      header.size = static_cast<uint32_t>(sizeof header + body.size());
      handler->OnMessage(*connection, ReceivedMessage(header, body, nullptr, nullptr, 0));
    }
    // A RECALL's: what became of the call, with the body that it was answered with.
    void TellFate(size_t index, wire::RecallFate fate, uint32_t status = 0,
                  absl::Span<const std::byte> kept = {}) {
      std::byte tail[256];
      const size_t body =
          wire::Encode(wire::RecallReply{fate, status}, absl::MakeSpan(tail)).size();
      std::copy(kept.begin(), kept.end(), tail + body);
      wire::MessageHeader header = posted[index].header;
      header.flags = wire::kFlagReply;
      header.inline_size = static_cast<uint32_t>(kept.size());
      header.size = static_cast<uint32_t>(sizeof header + body + kept.size());
      handler->OnMessage(
          *connection, ReceivedMessage(header, absl::MakeConstSpan(tail).first(body + kept.size()),
                                       nullptr, nullptr, 0));
    }
    void Lose(const char* reason = "pulled") {
      handler->OnClosed(*connection, absl::UnavailableError(reason));
    }
  };

  explicit ScriptedConnection(Script& script) : script_(script) { script.connection = this; }
  ~ScriptedConnection() override { script_.connection = nullptr; }

  std::string_view transport_name() const override { return "scripted"; }
  std::string peer() const override { return "test"; }
  void Start(EventLoop&, ConnectionHandler& handler) override { script_.handler = &handler; }
  Errno Post(Outgoing message) override {
    if (!script_.post_error.ok()) return script_.post_error;
    script_.bodies.emplace_back(message.body.begin(), message.body.end());
    script_.posted.push_back(std::move(message));
    return kOk;
  }
  void Pull(const ReceivedMessage&, absl::Span<std::byte>, Buffer, Reply<Pulled> reply) override {
    reply.Complete(Errno(ENOTCONN));
  }
  void Close(absl::Status reason) override {
    script_.closed = true;
    script_.close_reason = std::move(reason);
  }

 private:
  Script& script_;
};

}  // namespace rdmafs
