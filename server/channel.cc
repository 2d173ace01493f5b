#include "server/channel.h"

#include "absl/strings/numbers.h"
#include "server/call.h"
#include "server/operation.h"
#include "server/server_context.h"
#include "server/session_end.h"
#include "server/shard.h"
#include "transport/base/log.h"

namespace rdmafs::server {

void Channel::OnMessage(Connection&, ReceivedMessage message) {
  if (!open_) return;
  const wire::MessageHeader header = message.header();
  const Operation* operation = FindOperation(header.opcode);
  const char* fault = operation == nullptr ? "unknown opcode" : FindHeaderFault(header);
  if (fault != nullptr) return Breach(fault);

  Call& call = shard_.TakeCall();
  Reference();
  *FindSlot(header.slot) = {header.sequence, &call};
  call.Begin(*this, std::move(message), *operation, shard_.context().clock.Now());
  if (!operation->decode(call)) return call.Breach(absl::StrCat("malformed ", operation->name));
  fault = operation->find_fault(call);
  if (fault != nullptr) return call.Breach(absl::StrCat(operation->name, ": ", fault));
  operation->serve(call);
}

const char* Channel::FindHeaderFault(const wire::MessageHeader& header) {
  const bool hello = header.opcode == static_cast<uint16_t>(wire::Opcode::kHello);
  if (session_ == nullptr && !hello) return "call before the hello";
  // Before the hello is answered the only call under way is the hello.
  if (hello && (session_ != nullptr || references_ > 1)) return "second hello";
  const Slot* slot = FindSlot(header.slot);
  if (slot == nullptr) return "slot beyond the credits";
  if (slot->call != nullptr) return "slot in use";
  if (header.sequence != slot->sequence + 1) return "sequence number";
  return nullptr;
}

Channel::Slot* Channel::FindSlot(uint32_t number) {
  if (number == wire::kSetUpSlot) return &set_up_slot_;
  return number < slots_.size() ? &slots_[number] : nullptr;
}

Channel::Channel(Shard& shard, uint64_t number, std::unique_ptr<Connection> connection)
    : shard_(shard),
      number_(number),
      connection_(std::move(connection)),
      peer_(connection_->peer()),
      peer_host_(PeerOf(peer_).host),
      slots_(connection_->credits()) {}

Channel::~Channel() { DCHECK(references_ == 0); }

void Channel::Start() {
  AwaitHello();
  connection_->Start(shard_.loop(), *this);
}

void Channel::AwaitHello() {
  HelloCame();
  hello_timer_ = shard_.loop().After(kHelloTimeout, [this] {
    hello_timer_ = 0;
    Breach("no hello in time");
  });
}

void Channel::HelloCame() { shard_.loop().Cancel(std::exchange(hello_timer_, 0)); }

bool Channel::Enter(std::shared_ptr<Session> session) {
  if (!session->AddConnection(number_,
                              [&shard = shard_, number = number_] { shard.Close(number); })) {
    shard_.context().sessions.Leave(*session);
    return false;
  }
  session_ = std::move(session);
  return true;
}

void Channel::Breach(std::string_view reason) {
  if (!open_) return;
  shard_.context().breaches.Write(connection_->transport_name(), peer_, reason);
  Close(absl::InvalidArgumentError(std::string(reason)));
}

void Channel::Close(absl::Status reason) {
  if (!std::exchange(open_, false)) return;
  connection_->Close(std::move(reason));
}

void Channel::Finish(Call& call) {
  FindSlot(call.header().slot)->call = nullptr;
  shard_.statistics().Record(call.operation().index, shard_.context().clock.Now() - call.begun(),
                             !call.status_.ok());
  if (open_) PostAnswer(call);
  shard_.Recycle(call);
  Unreference();
}

void Channel::PostAnswer(Call& call) {
  const wire::MessageHeader request = call.header();
  call.message_.Drop();
  Outgoing answer;
  answer.header.opcode = request.opcode;
  answer.header.slot = request.slot;
  answer.header.sequence = request.sequence;
  answer.header.flags = wire::kFlagReply;
  answer.header.credits = static_cast<uint16_t>(slots_.size());
  answer.header.status = static_cast<uint32_t>(call.status_.value());
  answer.request_header = &request;
  if (call.status_.ok()) {
    answer.header.remote_size = static_cast<uint32_t>(call.reply_push_.size());
    answer.body = call.reply_body_;
    answer.inline_payload = call.reply_inline_;
    answer.push = call.reply_push_;
    if (!answer.inline_payload.empty() || !answer.push.empty())
      answer.hold = std::move(call.buffer_);
  }
  Errno posted = connection_->Post(std::move(answer));
  // ENOTCONN: OnClosed is on its way.
  CHECK(posted.ok() || posted.value() == ENOTCONN);
}

Call* Channel::FindCall(uint32_t number, uint32_t sequence) {
  const Slot* slot = FindSlot(number);
  return slot != nullptr && slot->sequence == sequence ? slot->call : nullptr;
}

void Channel::OnClosed(Connection&, const absl::Status& reason) {
  open_ = false;
  HelloCame();
  // Nobody is left to be told that a lock came free, or to ask that the wait ends.
  for (const Slot& slot : slots_) CancelWait(slot);
  CancelWait(set_up_slot_);
  LeaveSession(reason);
  Unreference();
}

void Channel::CancelWait(const Slot& slot) {
  if (slot.call != nullptr && slot.call->wait != 0) shard_.context().locks.Cancel(slot.call->wait);
}

void Channel::LeaveSession(const absl::Status& reason) {
  if (session_ == nullptr || !shard_.context().sessions.Leave(*session_)) return;
  Log(LogLevel::kNotice, "client ", session_->peer_host(), ": session ", session_->number(),
      " ends: ", reason.message());
  EndSession(shard_.context(), session_);
}

void Channel::Unreference() {
  if (--references_ != 0) return;
  // Only now has its last call been done.
  if (session_ != nullptr) session_->RemoveConnection(number_);
  shard_.Bury(*this);
}

Exports::Peer PeerOf(std::string_view text) {
  const size_t colon = text.rfind(':');
  const bool bracketed = !text.empty() && text.front() == '[';
  // Without brackets, more than one colon is an IPv6 address without a port.
  const bool has_port = colon != text.npos && colon != 0 &&
                        (bracketed ? text[colon - 1] == ']' : text.find(':') == colon);
  Exports::Peer peer;
  peer.host = std::string(has_port ? text.substr(0, colon) : text);
  if (bracketed) peer.host = peer.host.substr(1, peer.host.find(']') - 1);
  uint32_t port = 0;
  if (has_port && absl::SimpleAtoi(std::string(text.substr(colon + 1)), &port) && port <= 65535) {
    peer.port = static_cast<uint16_t>(port);
  }
  return peer;
}

}  // namespace rdmafs::server
