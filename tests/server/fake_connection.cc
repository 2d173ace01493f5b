#include "tests/server/fake_connection.h"

#include <algorithm>
#include <cstring>

namespace rdmafs::server {

FakeConnection::~FakeConnection() {
  CHECK(loop_ == nullptr || closed_);
  CHECK(received_.empty());
  record_.destroyed = true;
}

void FakeConnection::Start(EventLoop& loop, ConnectionHandler& handler) {
  loop_ = &loop;
  handler_ = &handler;
}

Errno FakeConnection::Post(Outgoing message) {
  if (record_.closing) return Errno(ENOTCONN);
  auto call = calls_.find(message.header.slot);
  CHECK(call != calls_.end());
  const wire::MessageHeader& request = call->second;
  CHECK(message.request_header != nullptr);
  CHECK(message.header.opcode == request.opcode && message.header.sequence == request.sequence);
  CHECK((message.header.flags & wire::kFlagReply) != 0);
  CHECK(message.inline_payload.size() <= wire::kMaxInlineBytes);
  CHECK(message.body.size() <= wire::kMaxBodyBytes);
  CHECK(message.header.remote_size == message.push.size());
  if (!message.push.empty()) {
    CHECK((request.flags & wire::kFlagSink) != 0 && message.push.size() <= request.remote_size);
  }
  if (!message.push.empty() || !message.inline_payload.empty()) CHECK(message.hold);
  record_.answers.push_back(message.header);
  calls_.erase(call);
  return kOk;
}

void FakeConnection::Pull(const ReceivedMessage& request, absl::Span<std::byte> destination,
                          Buffer hold, Reply<Pulled> reply) {
  CHECK((request.header().flags & wire::kFlagSource) != 0);
  CHECK(destination.size() == request.header().remote_size);
  ++pulls_;
  const absl::Span<const std::byte> received = received_.at(request.token());
  const size_t head = std::min({head_bytes, destination.size(), received.size()});
  auto arrived = [this, destination, head, received, kept = std::move(hold),
                  reply = std::move(reply)]() mutable {
    --pulls_;
    if (record_.closing) {
      reply.Complete(Errno(ENOTCONN));
      kept = Buffer();
      FinishClose();
      return;
    }
    std::memset(destination.data(), 'p', destination.size() - head);
    reply.Complete(Pulled{received.first(head), destination.first(destination.size() - head)});
  };
  loop_->Post(std::move(arrived));
}

void FakeConnection::Close(absl::Status reason) {
  if (std::exchange(record_.closing, true)) return;
  reason_ = std::move(reason);
  loop_->Post([this] { FinishClose(); });
}

void FakeConnection::FinishClose() {
  if (pulls_ != 0 || std::exchange(closed_, true)) return;
  handler_->OnClosed(*this, reason_);
}

bool FakeConnection::Receive(wire::MessageHeader header, absl::Span<const std::byte> body,
                             absl::Span<const std::byte> inline_payload) {
  if (record_.closing) return false;
  header.size = static_cast<uint32_t>(sizeof header + body.size() + inline_payload.size());
  header.inline_size = static_cast<uint32_t>(inline_payload.size());
  if (wire::FindHeaderFault(header, false) != nullptr) return false;
  const bool in_use = !calls_.emplace(header.slot, header).second;
  const uint64_t token = next_token_++;
  std::vector<std::byte>& tail = received_[token];
  tail.assign(body.begin(), body.end());
  tail.insert(tail.end(), inline_payload.begin(), inline_payload.end());
  ++record_.messages_kept;
  auto release = [](void* owner, uint64_t dropped) {
    auto* self = static_cast<FakeConnection*>(owner);
    self->received_.erase(dropped);
    --self->record_.messages_kept;
  };
  handler_->OnMessage(*this, ReceivedMessage(header, tail, release, this, token));
  CHECK(!in_use || record_.closing);  // a slot has one call at a time
  return true;
}

}  // namespace rdmafs::server
