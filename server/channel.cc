#include "server/channel.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "server/call.h"
#include "server/operation.h"
#include "server/recall_log.h"
#include "server/server_context.h"
#include "server/session_end.h"
#include "server/shard.h"
#include "transport/base/log.h"

namespace rdmafs::server {

void Channel::OnMessage(Connection&, ReceivedMessage message) {
  if (!open_ || refused_) return;
  const wire::MessageHeader header = message.header();
  const Operation* operation = FindOperation(header.opcode);
  const char* fault = operation == nullptr ? "unknown opcode" : FindHeaderFault(header);
  if (fault != nullptr) return Breach(fault);

  Call& call = shard_.TakeCall();
  Reference();
  Slot& slot = *FindSlot(header.slot);
  const bool replay = header.sequence == slot.sequence;
  slot.sequence = header.sequence;
  slot.opcode = header.opcode;
  slot.call = &call;
  slot.may_replay = false;
  call.Begin(*this, std::move(message), *operation, shard_.context().clock.Now());
  if (!operation->decode(call)) return call.Breach(absl::StrCat("malformed ", operation->name));
  fault = operation->find_fault(call);
  if (fault != nullptr) return call.Breach(absl::StrCat(operation->name, ": ", fault));
  if (replay) return ServeReplay(slot, call);
  slot.has_reply = false;
  slot.late.reset();
  Serve(call);
}

void Channel::Serve(Call& call) {
  const Operation& operation = call.operation();
  if (operation.recalled != nullptr && operation.recalled(call)) call.MakeRecallable();
  operation.serve(call);
}

namespace {

bool IsHello(wire::Opcode opcode) {
  return opcode == wire::Opcode::kHello || opcode == wire::Opcode::kChallenge;
}

}  // namespace

// Of the first messages, in their order: a hello, or a challenge and its proof.
const char* Channel::FindHelloFault(wire::Opcode opcode) const {
  const bool hello = IsHello(opcode);
  if (!hello && opcode != wire::Opcode::kProve) return "call before the hello";
  // Until it is answered it is the only call under way.
  const bool challenged = authentication != nullptr && !authentication->proved;
  if (references_ > 1 || (hello && challenged)) return "second hello";
  return hello || challenged ? nullptr : "proof without a challenge";
}

const char* Channel::FindHeaderFault(const wire::MessageHeader& header) {
  const auto opcode = static_cast<wire::Opcode>(header.opcode);
  if (session_ == nullptr) {
    if (const char* fault = FindHelloFault(opcode)) return fault;
  } else if (IsHello(opcode) || opcode == wire::Opcode::kProve) {
    return "second hello";
  }
  const Slot* slot = FindSlot(header.slot);
  if (slot == nullptr) return "slot beyond the credits";
  if (slot->call != nullptr) return "slot in use";
  if (header.sequence == slot->sequence + 1) return nullptr;
  if (header.sequence != slot->sequence || !slot->may_replay) return "sequence number";
  return header.opcode == slot->opcode ? nullptr : "replay of another call";
}

// The client lost the answer to what it says again.
void Channel::ServeReplay(Slot& slot, Call& call) {
  shard_.CountReplay();
  call.predecessor_ = std::move(slot.late);
  if (call.predecessor_ != nullptr) {
    if (!call.predecessor_->Wait(call)) ServeAfterPredecessor(call);
    return;
  }
  if (!slot.has_reply) return Serve(call);
  call.AnswerAgain(*slot.reply);
  Call::Finish(call);
}

void Channel::ServeAfterPredecessor(Call& call) {
  const auto predecessor = std::exchange(call.predecessor_, nullptr);
  const std::unique_ptr<KeptReply> reply = predecessor->TakeReply();
  if (reply != nullptr) {
    call.AnswerAgain(*reply);
  } else if (!call.channel().left_) {
    return call.channel().Serve(call);
  } else {
    call.keep_reply_ = false;  // not begun: that is the next connection's to do
  }
  Call::Finish(call);
}

Slot* Channel::FindSlot(uint32_t number) {
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

void Channel::OnHandshake(Connection&) {
  auto place = shard_.context().handshakes->Take(peer_host_);
  if (!place) return Breach("too many handshakes at once");
  place_.emplace(*std::move(place));
}

std::optional<HandshakeLimit::Ticket> Channel::TakePlace() {
  if (!place_) return shard_.context().handshakes->Take(peer_host_);
  std::optional<HandshakeLimit::Ticket> place = std::move(place_);
  place_.reset();
  return place;
}

void Channel::AwaitHello() {
  HelloCame();
  hello_timer_ = shard_.loop().After(kHelloTimeout, [this] {
    hello_timer_ = 0;
    Breach("no hello in time");
  });
}

void Channel::CloseSoon() {
  HelloCame();
  refused_ = true;
  hello_timer_ = shard_.loop().After(kRefusalLinger, [this] {
    hello_timer_ = 0;
    Close(absl::CancelledError("it was refused"));
  });
}

void Channel::HelloCame() { shard_.loop().Cancel(std::exchange(hello_timer_, 0)); }

Session::Joined Channel::Enter(std::shared_ptr<Session> session, uint16_t number, uint32_t epoch,
                               UniqueFunction<void()> again) {
  SlotMemory slots;
  const Session::Member member{number, epoch, this,
                               [&shard = shard_, own = number_] { shard.Close(own); }};
  const Session::Joined joined = session->Join(member, slots, std::move(again));
  if (joined != Session::Joined::kYes) return joined;
  session_ = std::move(session);
  number_in_session_ = number;
  const size_t credits = slots_.size();
  slots_ = std::move(slots);
  slots_.resize(std::max(credits, slots_.size()));
  return joined;
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
  shard_.statistics().Record(call.operation().index, shard_.context().clock.Now() - call.begun(),
                             !call.status_.ok());
  RecordEnd(call);
  if (open_) PostAnswer(call);
  shard_.Recycle(call);
  Unreference();
}

// In its slot, or to the replay that waits for it.
void Channel::RecordEnd(Call& call) {
  if (!left_) {
    Slot& slot = *FindSlot(call.header().slot);
    slot.call = nullptr;
    if (&slot == &set_up_slot_ || !call.MustKeepReply()) return;
    if (slot.reply == nullptr) slot.reply = std::make_unique<KeptReply>();
    *slot.reply = call.ReplyToKeep();
    slot.has_reply = true;
    return;
  }
  auto found = std::find_if(late_.begin(), late_.end(),
                            [&](const auto& late) { return late.first == &call; });
  if (found == late_.end()) return;  // a set-up call, or a replay that had not begun
  std::unique_ptr<KeptReply> reply;
  if (call.MustKeepReply()) reply = std::make_unique<KeptReply>(call.ReplyToKeep());
  if (Call* replay = found->second->Finish(std::move(reply))) replay->Resume(ServeAfterPredecessor);
  late_.erase(found);
}

void Channel::PostAnswer(Call& call) {
  const wire::MessageHeader request = call.header();
  call.message_.Drop();
  Outgoing answer;
  answer.header.opcode = request.opcode;
  answer.header.slot = request.slot;
  answer.header.sequence = request.sequence;
  answer.header.flags = wire::kFlagReply;
  answer.header.credits = connection_->credits();
  answer.header.status = static_cast<uint32_t>(call.status_.value());
  answer.request_header = &request;
  if (call.status_.ok()) {
    answer.header.remote_size = static_cast<uint32_t>(call.reply_push_.size());
    answer.body = call.reply_body_;
    answer.inline_payload = call.reply_inline_;
    answer.push = call.reply_push_;
    answer.push_file = std::exchange(call.file_range_, {});
    if (!answer.inline_payload.empty() || !answer.push.empty())
      answer.hold = std::move(call.buffer_);
  }
  Errno posted = connection_->Post(std::move(answer));
  // ENOTCONN: OnClosed is on its way.
  CHECK(posted.ok() || posted.value() == ENOTCONN);
}

RecallRecord* Channel::RecordOf(uint32_t number) {
  RecallLog* log = shard_.context().recall_log;
  Slot* slot = FindSlot(number);
  if (log == nullptr || slot == nullptr || slot == &set_up_slot_) return nullptr;
  if (slot->record == nullptr) {
    slot->record =
        log->RecordOf(session_->id(), number_in_session_, static_cast<uint16_t>(number));
  }
  return slot->record;
}

Call* Channel::FindCall(uint32_t number, uint32_t sequence) {
  const Slot* slot = FindSlot(number);
  return slot != nullptr && slot->sequence == sequence ? slot->call : nullptr;
}

Errno Channel::Retire(uint32_t number, uint32_t sequence) {
  if (FindCall(number, sequence) != nullptr) return Errno(EBUSY);
  Slot* slot = FindSlot(number);
  if (slot == nullptr || !slot->may_replay) return kOk;
  if (slot->late != nullptr && !slot->late->done()) return Errno(EBUSY);
  // A call that was lost on its way here has used its number up all the same.
  if (sequence == slot->sequence + 1) slot->sequence = sequence;
  slot->may_replay = slot->has_reply = false;
  slot->late.reset();
  return kOk;
}

void Channel::OnClosed(Connection&, const absl::Status& reason) {
  // What the transport refused by itself; who only went away has broken nothing.
  if (open_ && (absl::IsPermissionDenied(reason) || absl::IsInvalidArgument(reason))) {
    shard_.context().breaches.Write(connection_->transport_name(), peer_,
                                    std::string(reason.message()));
  }
  open_ = false;
  HelloCame();
  // It did not come through: guesses are slow here, too.
  if (place_) shard_.loop().After(kRefusalDelay, [place = *std::move(place_)] {});
  // A wait begins anew with its replay. Nobody is there to be told meanwhile that the lock came
  // free, or to ask that the wait ends.
  for (const Slot& slot : slots_) CancelWait(slot);
  CancelWait(set_up_slot_);
  LeaveSlots();
  LeaveSession(reason);
  Unreference();
}

void Channel::CancelWait(const Slot& slot) {
  if (slot.call == nullptr || slot.call->wait == 0) return;
  slot.call->wait_lost = true;
  shard_.context().locks.Cancel(slot.call->wait);
}

// As they are now they are the next connection's to go on with.
void Channel::LeaveSlots() {
  left_ = true;
  std::vector<Call*> dropped;
  for (Slot& slot : slots_) {
    slot.may_replay = slot.sequence != 0;
    Call* call = std::exchange(slot.call, nullptr);
    if (call == nullptr) continue;
    if (call->predecessor_ != nullptr && call->predecessor_->StopWaiting(*call)) {
      slot.late = std::move(call->predecessor_);
      dropped.push_back(call);
      continue;
    }
    slot.late = std::make_shared<LateCall>();
    late_.emplace_back(call, slot.late);
  }
  for (Call* call : dropped) Finish(*call);
}

void Channel::LeaveSession(const absl::Status& reason) {
  if (session_ == nullptr) return;
  const ServerContext& context = shard_.context();
  const Session::Left left = session_->Leave(this, number_in_session_, std::move(slots_));
  slots_.clear();
  if (!left.last) return;
  const bool keep = left.keep && context.lease > 0 && !shard_.stopping();
  Log(LogLevel::kNotice, "client ", session_->peer_host(), ": session ", session_->number(),
      keep ? " has no connection: " : " ends: ", reason.message());
  if (!keep) {
    if (session_->BeginEnd()) EndSession(context, session_);
    return;
  }
  shard_.loop().After(context.lease, [&context, weak = std::weak_ptr(session_), left] {
    const std::shared_ptr<Session> session = weak.lock();
    if (session == nullptr || !session->BeginEndIfIdle(left.idle_epoch)) return;
    Log(LogLevel::kNotice, "client ", session->peer_host(), ": session ", session->number(),
        " ends: its client did not come back within the lease");
    EndSession(context, session);
  });
}

void Channel::Unreference() {
  if (--references_ != 0) return;
  // Only now has its last call been done.
  if (session_ != nullptr) session_->RemoveMember(this);
  shard_.Bury(*this);
}

Protection ProtectionOf(const Connection& connection) {
  const ChannelSecurity* security = connection.security();
  if (security == nullptr) return Protection::kNone;
  return security->mutual ? Protection::kMutualTls : Protection::kTls;
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
