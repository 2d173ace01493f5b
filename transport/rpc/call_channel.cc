#include "transport/rpc/call_channel.h"

#include <algorithm>

#include "transport/base/counter.h"

namespace rdmafs {
namespace {

void AddTraffic(const Connection& connection, CallChannel::Traffic& sum) {
  const ConnectionCounters& counters = connection.counters();
  sum.messages_sent += counters.messages_sent.load(std::memory_order_relaxed);
  sum.messages_received += counters.messages_received.load(std::memory_order_relaxed);
  sum.bytes_sent += counters.bytes_sent.load(std::memory_order_relaxed);
  sum.bytes_received += counters.bytes_received.load(std::memory_order_relaxed);
  sum.copied_bytes += counters.copied_bytes.load(std::memory_order_relaxed);
}

}  // namespace

CallChannel::CallChannel(EventLoop& loop, Owner& owner) : loop_(loop), owner_(owner) {
  free_slots_.reserve(wire::kMaxCredits);
}

CallChannel::~CallChannel() {
  DCHECK(connection_ == nullptr);
  *alive_ = false;
  for (std::unique_ptr<CallState>& call : all_) {
    if (call->answer) Finish(call.get(), Answer{Errno(ENOTCONN), {}, {}, {}});
  }
}

void CallChannel::Connect(std::unique_ptr<Connection> connection) {
  DCHECK(connection_ == nullptr && in_flight_ == 0);
  connection_ = std::move(connection);
  ++connects_;
  {
    absl::MutexLock lock(&traffic_mutex_);
    counted_ = connection_.get();
  }
  resumed_ = false;
  set_up_slot_free_ = true;
  sequences_[wire::kSetUpSlot] = 0;
  connection_->Start(loop_, *this);
}

void CallChannel::Disconnect(absl::Status reason) {
  if (connection_ != nullptr) connection_->Close(std::move(reason));
}

CallChannel::CallState* CallChannel::NewCall() {
  if (free_calls_.empty()) {
    all_.push_back(std::make_unique<CallState>());
    return all_.back().get();
  }
  CallState* call = free_calls_.back();
  free_calls_.pop_back();
  return call;
}

CallId CallChannel::Launch(CallState* call, wire::Opcode opcode, absl::Span<const std::byte> body,
                           CallPayload payload, OnLoss on_loss, AnswerFunction answer, Kind kind) {
  call->id = next_id_++;
  call->opcode = opcode;
  call->on_loss = on_loss;
  call->kind = kind;
  call->of_former_session = false;
  call->body_size = static_cast<uint32_t>(body.size());
  call->started = loop_.clock().Now();
  call->payload = std::move(payload);
  call->answer = std::move(answer);
  AddAsOnlyWriter(counters_.calls);
  if (body.data() == nullptr) {
    FinishLater(call, Errno(E2BIG));
  } else if (kind == kSetUp && connection_ == nullptr) {
    FinishLater(call, Errno(ENOTCONN));
  } else if (kind != kSetUp && waiting_.size() + waiting_may_wait_.size() >= kMaxWaiting) {
    FinishLater(call, Errno(ENOBUFS));
  } else if (CanSend(*call)) {
    const CallId id = call->id;
    Send(call);
    return id;
  } else {
    (kind == kMayWait ? waiting_may_wait_ : waiting_).push_back(call);
    counters_.waiting.store(waiting_.size() + waiting_may_wait_.size(), std::memory_order_relaxed);
  }
  return call->id;
}

bool CallChannel::CanSend(const CallState& call) const {
  if (connection_ == nullptr) return false;
  if (call.kind == kSetUp) return set_up_slot_free_;
  if (!resumed_ || free_slots_.empty() || !asked_after_.empty()) return false;
  return call.kind != kMayWait || may_wait_in_flight_ < std::max<uint32_t>(1, credits_ / 2u);
}

void CallChannel::Send(CallState* call) {
  const uint16_t slot = call->kind == kSetUp ? wire::kSetUpSlot : free_slots_.back();
  if (Errno error = PostOn(slot, sequences_[slot] + 1, call); !error.ok()) {
    if (error != Errno(ENOTCONN) || call->kind == kSetUp) {
      FinishLater(call, error);
    } else {  // OnClosed is on its way; the call was not sent and goes out on the next connection
      resumed_ = false;
      (call->kind == kMayWait ? waiting_may_wait_ : waiting_).push_front(call);
    }
    return;
  }
  ++sequences_[slot];
  if (call->kind == kSetUp) {
    set_up_slot_free_ = false;
  } else {
    free_slots_.pop_back();
  }
}

Errno CallChannel::PostOn(uint16_t slot, uint32_t sequence, CallState* call) {
  Outgoing out;
  out.header.opcode = static_cast<uint16_t>(call->opcode);
  out.header.slot = slot;
  out.header.sequence = sequence;
  out.body = absl::MakeConstSpan(call->body).first(call->body_size);
  out.inline_payload = call->payload.inline_payload;
  out.exposed = call->payload.exposed;
  out.by_pipe = call->payload.by_pipe;
  out.foreign = call->payload.foreign;
  if (!call->payload.exposed.empty()) {
    out.header.flags = call->payload.server_writes ? wire::kFlagSink : wire::kFlagSource;
  }
  out.hold = call->payload.hold;
  if (Errno error = connection_->Post(std::move(out)); !error.ok()) return error;
  call->slot = slot;
  call->sequence = sequence;
  call->session = session_;
  slots_[slot] = call;
  if (call->kind == kMayWait) ++may_wait_in_flight_;
  counters_.in_flight.store(++in_flight_, std::memory_order_relaxed);
  return kOk;
}

void CallChannel::SendWaiting() {
  while (!waiting_may_wait_.empty() && CanSend(*waiting_may_wait_.front())) {
    CallState* call = waiting_may_wait_.front();
    waiting_may_wait_.pop_front();
    Send(call);
  }
  // A set-up call may stand behind ordinary ones that have to wait for Resume().
  for (size_t i = 0; i < waiting_.size() && (set_up_slot_free_ || !free_slots_.empty());) {
    CallState* call = waiting_[i];
    if (!CanSend(*call)) {
      ++i;
      continue;
    }
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(i));
    Send(call);
  }
  counters_.waiting.store(waiting_.size() + waiting_may_wait_.size(), std::memory_order_relaxed);
}

void CallChannel::OnMessage(Connection& connection, ReceivedMessage message) {
  const wire::MessageHeader& header = message.header();
  CallState* call = header.slot < slots_.size() ? slots_[header.slot] : nullptr;
  if (call == nullptr || header.sequence != sequences_[header.slot] ||
      header.opcode != static_cast<uint16_t>(call->opcode)) {
    connection.Close(absl::InvalidArgumentError("the server answered a call that was not made"));
    return;
  }
  slots_[header.slot] = nullptr;
  if (header.slot == wire::kSetUpSlot) {
    set_up_slot_free_ = true;
  } else {
    free_slots_.push_back(header.slot);
  }
  if (call->kind == kMayWait) --may_wait_in_flight_;
  counters_.in_flight.store(--in_flight_, std::memory_order_relaxed);
  AddAsOnlyWriter(counters_.answers);
  Errno error(static_cast<int>(header.status));
  if (call->of_former_session && error == Errno(EBADF)) error = Errno(ESTALE);
  Answer answer{error, std::move(message), call->payload.exposed, std::move(call->payload.hold)};
  Finish(call, std::move(answer));
  if (!waiting_.empty() || !waiting_may_wait_.empty()) SendWaiting();
}

void CallChannel::OnClosed(Connection& connection, const absl::Status& reason) {
  DCHECK(&connection == connection_.get());
  std::vector<CallState*> lost;
  for (CallState*& call : slots_) {
    if (call != nullptr) lost.push_back(std::exchange(call, nullptr));
  }
  std::sort(lost.begin(), lost.end(),
            [](const CallState* a, const CallState* b) { return a->id < b->id; });
  in_flight_ = may_wait_in_flight_ = 0;
  counters_.in_flight.store(0, std::memory_order_relaxed);
  AddAsOnlyWriter(counters_.losses);
  {
    absl::MutexLock lock(&traffic_mutex_);
    AddTraffic(*counted_, past_);
    counted_ = nullptr;
  }
  const absl::Status why = reason;  // may be the connection's own
  connection_.reset();
  resumed_ = false;
  for (CallState* call : lost) {
    if (call->kind == kSetUp) {
      FinishLater(call, Errno(ENOTCONN));
    } else {
      kept_.push_back(call);
    }
  }
  std::erase_if(waiting_, [this](CallState* call) {
    if (call->kind != kSetUp) return false;
    FinishLater(call, Errno(ENOTCONN));
    return true;
  });
  owner_.OnChannelLost(*this, why);
}

void CallChannel::Finish(CallState* call, Answer answer) {
  AnswerFunction function = std::move(call->answer);
  call->payload = CallPayload();
  call->id = 0;
  free_calls_.push_back(call);
  function(std::move(answer));
}

void CallChannel::FinishLater(CallState* call, Errno error) {
  // Not inside Start(): the asker may not expect its answer before it has the id.
  loop_.Defer([this, alive = alive_, call, error] {
    if (*alive)
      Finish(call, Answer{error, {}, call->payload.exposed, std::move(call->payload.hold)});
  });
}

CallChannel::Traffic CallChannel::traffic() const {
  absl::MutexLock lock(&traffic_mutex_);
  Traffic sum = past_;
  if (counted_ != nullptr) AddTraffic(*counted_, sum);
  return sum;
}

bool CallChannel::Find(CallId id, uint32_t* slot, uint32_t* sequence) const {
  for (const CallState* call : slots_) {
    if (call != nullptr && call->id == id) {
      *slot = call->slot;
      *sequence = sequences_[call->slot];
      return true;
    }
  }
  return false;
}

Nanoseconds CallChannel::OldestInFlight() const {
  Nanoseconds oldest = 0;
  const Nanoseconds now = loop_.clock().Now();
  for (const CallState* call : slots_) {
    if (call != nullptr && call->kind != kMayWait) oldest = std::max(oldest, now - call->started);
  }
  return oldest;
}

}  // namespace rdmafs
