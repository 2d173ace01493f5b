// FakeConnection: a connection without a peer: a test says what arrives, and looks at what is
// answered.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "transport/connection.h"

namespace rdmafs::server {

// Owned by one thread, as any connection. It keeps the transport's promises, and checks the
// server's: an answer for each call and slot once, within what the call exposed, after its message
// was dropped.
class FakeConnection final : public Connection {
 public:
  // What happened, for whoever outlives the connection.
  struct Record {
    std::vector<wire::MessageHeader> answers;
    int messages_kept = 0;  // received and not dropped
    bool closing = false;
    bool destroyed = false;
  };

  explicit FakeConnection(Record& record) : record_(record) {}
  ~FakeConnection() override;

  std::string_view transport_name() const override { return "fake"; }
  std::string peer() const override { return "127.0.0.1:9"; }
  void Start(EventLoop& loop, ConnectionHandler& handler) override;
  Errno Post(Outgoing message) override;
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Pulled> reply) override;
  void Close(absl::Status reason) override;

  // A message arrives: header.size and inline_size are set to what is given. Does nothing once
  // closed. False when no transport would have let that header through, or the slot's last call has
  // no answer.
  bool Receive(wire::MessageHeader header, absl::Span<const std::byte> body,
               absl::Span<const std::byte> inline_payload);
  // How many bytes of a pulled payload come as its head.
  size_t head_bytes = 0;

 private:
  void FinishClose();

  Record& record_;
  EventLoop* loop_ = nullptr;
  ConnectionHandler* handler_ = nullptr;
  absl::Status reason_;
  bool closed_ = false;
  int pulls_ = 0;
  uint64_t next_token_ = 1;
  std::map<uint64_t, std::vector<std::byte>> received_;
  std::map<uint16_t, wire::MessageHeader> calls_;  // without an answer, by slot
};

}  // namespace rdmafs::server
