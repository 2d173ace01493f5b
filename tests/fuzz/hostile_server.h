// HostileServer: a client's connection whose other end answers what a test wants.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "transport/connection.h"

namespace rdmafs {

// Owned by one thread, as any connection. It looks at a reply as every transport does, and checks
// what the client promises: one call for each slot, memory that is there.
class HostileServer final : public Connection {
 public:
  struct Reply {
    size_t which = 0;  // of the calls without an answer, in the order of their slots; round again
    uint8_t status = 0;
    absl::Span<const std::byte> body;
    // Inline payload; or, `in_sink`, what lands in the call's memory.
    absl::Span<const std::byte> rest;
    bool in_sink = false;
  };

  HostileServer() { credits_ = wire::kDefaultCredits; }
  ~HostileServer() override { CHECK(loop_ == nullptr || closed_); }

  // Replies that clients have received and not dropped.
  static int messages_kept() { return messages_kept_; }

  std::string_view transport_name() const override { return "hostile"; }
  std::string peer() const override { return "127.0.0.1:9"; }
  void Start(EventLoop& loop, ConnectionHandler& handler) override {
    loop_ = &loop;
    handler_ = &handler;
  }
  Errno Post(Outgoing message) override {
    if (closing_) return Errno(ENOTCONN);
    CHECK(message.header.slot < wire::kMaxCredits);
    CHECK(message.body.size() <= wire::kMaxBodyBytes &&
          message.inline_payload.size() <= wire::kMaxInlineBytes);
    CHECK(message.exposed.size() <= wire::kMaxPayloadBytes);
    Call call{message.header, message.exposed, std::move(message.hold)};
    CHECK(calls_.emplace(message.header.slot, std::move(call)).second);
    return kOk;
  }
  void Pull(const ReceivedMessage&, absl::Span<std::byte>, Buffer, rdmafs::Reply<Pulled>) override {
    CHECK(false);  // a client pulls nothing
  }
  void Close(absl::Status reason) override {
    if (std::exchange(closing_, true)) return;
    loop_->Post([this, reason = std::move(reason)] {
      calls_.clear();
      closed_ = true;
      handler_->OnClosed(*this, reason);
    });
  }

  // Answers a call, if there is one.
  void Answer(const Reply& reply) {
    if (closing_ || calls_.empty()) return;
    const auto found =
        std::next(calls_.begin(), static_cast<ptrdiff_t>(reply.which % calls_.size()));
    const Call call = std::move(found->second);
    calls_.erase(found);
    wire::MessageHeader header{};
    header.opcode = call.header.opcode;
    header.slot = call.header.slot;
    header.sequence = call.header.sequence;
    header.flags = wire::kFlagReply;
    header.credits = wire::kDefaultCredits;
    header.status = reply.status;
    auto* const kept = new std::vector<std::byte>(reply.body.begin(), reply.body.end());
    if (reply.in_sink && (call.header.flags & wire::kFlagSink) != 0) {
      const size_t size = std::min(call.exposed.size(), reply.rest.size());
      if (size != 0) std::memcpy(call.exposed.data(), reply.rest.data(), size);
      header.remote_size = static_cast<uint32_t>(size);
    } else {
      const size_t size = std::min<size_t>(wire::kMaxInlineBytes, reply.rest.size());
      kept->insert(kept->end(), reply.rest.begin(),
                   reply.rest.begin() + static_cast<ptrdiff_t>(size));
      header.inline_size = static_cast<uint32_t>(size);
    }
    header.size = static_cast<uint32_t>(sizeof header + kept->size());
    ++messages_kept_;
    ReceivedMessage message(
        header, *kept,
        [](void* owner, uint64_t) {
          delete static_cast<std::vector<std::byte>*>(owner);
          --messages_kept_;
        },
        kept, 0);
    if (wire::FindHeaderFault(header, true) == nullptr)
      handler_->OnMessage(*this, std::move(message));
  }

 private:
  struct Call {
    wire::MessageHeader header;
    absl::Span<std::byte> exposed;
    Buffer hold;
  };

  static inline int messages_kept_ = 0;
  EventLoop* loop_ = nullptr;
  ConnectionHandler* handler_ = nullptr;
  bool closing_ = false;
  bool closed_ = false;
  std::map<uint16_t, Call> calls_;  // without an answer, by slot
};

}  // namespace rdmafs
