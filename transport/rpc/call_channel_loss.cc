// CallChannel: what becomes of calls that were at a server when the connection was lost.
#include <algorithm>
#include <functional>

#include "transport/base/counter.h"
#include "transport/rpc/call_channel.h"

namespace rdmafs {

void CallChannel::Resume(uint16_t credits, const SessionName& session) {
  if (connection_ == nullptr) return;  // lost again meanwhile: OnChannelLost tells
  const bool same_session = session == std::exchange(session_, session);
  credits_ = std::clamp<uint16_t>(credits, 1, wire::kSetUpSlot);
  counters_.credits.store(credits_, std::memory_order_relaxed);
  if (!same_session) {
    for (const std::deque<CallState*>* queue : {&kept_, &waiting_, &waiting_may_wait_}) {
      for (CallState* call : *queue) call->of_former_session = true;
    }
    const uint32_t set_up_sequence = sequences_[wire::kSetUpSlot];
    sequences_.fill(0);
    sequences_[wire::kSetUpSlot] = set_up_sequence;
  }
  std::deque<CallState*> kept = std::exchange(kept_, {});
  // Those whose fate was not heard of over the last connection: they are of an older session yet.
  const std::deque<CallState*> unanswered = std::exchange(asked_after_, {});
  std::array<bool, wire::kMaxCredits> taken{};
  if (same_session) {
    for (const CallState* call : kept) taken[call->slot] = true;
    for (uint16_t slot : retired_) taken[slot] = true;
  } else {
    retired_.clear();
  }
  free_slots_.clear();
  for (uint16_t slot = credits_; slot-- > 0;) {
    if (!taken[slot]) free_slots_.push_back(slot);
  }
  resumed_ = true;
  for (CallState* call : kept) {
    if (same_session) {
      Replay(call);
    } else {
      RepeatOrFail(call);
    }
  }
  for (CallState* call : unanswered) AskAfter(call);
  RetireSlots();
  SendAnew();
}

void CallChannel::RetireSlots() {
  for (uint16_t slot : retired_) RetireSlot(slot);
}

void CallChannel::RetireSlot(uint16_t slot) {
  StartFirst(wire::RetireRequest{slot, sequences_[slot]}, {}, [this, slot](Answer answer) {
    if (answer.error == Errno(EBUSY)) {
      loop_.After(kRetirePause, [this, alive = alive_, slot, connect = connects_] {
        if (*alive && connect == connects_ && resumed_) RetireSlot(slot);
      });
      return;
    }
    if (!answer.error.ok()) return;  // the connection is lost again: the slot stays on the list
    std::erase(retired_, slot);
    free_slots_.push_back(slot);
    SendWaiting();
  });
}

void CallChannel::Replay(CallState* call) {
  AddAsOnlyWriter(counters_.repeated);
  if (!PostOn(call->slot, sequences_[call->slot], call).ok()) kept_.push_back(call);
}

// The old session's calls are over, so the answer will not change.
void CallChannel::AskAfter(CallState* call) {
  asked_after_.push_back(call);
  const wire::RecallRequest request{{{call->session[0], call->session[1]},
                                     call->slot,
                                     call->sequence,
                                     static_cast<uint32_t>(call->opcode),
                                     0}};
  StartFirst(request, {},
             [this, id = call->id](Answer answer) { TakeFate(id, std::move(answer)); });
}

void CallChannel::TakeFate(CallId id, Answer answer) {
  if (answer.error == Errno(ENOTCONN)) return;  // lost again: it is asked anew
  auto found = std::find_if(asked_after_.begin(), asked_after_.end(),
                            [id](const CallState* call) { return call->id == id; });
  if (found != asked_after_.end()) {  // else it was given up meanwhile
    CallState* call = *found;
    asked_after_.erase(found);
    wire::RecallReply reply;
    wire::Decoder decoder(answer.message.body());
    if (!answer.error.ok() || !reply.Code(decoder) || reply.fate > wire::RecallFate::kDone) {
      AddAsOnlyWriter(counters_.failed_by_loss);
      Finish(call, Answer{Errno(EIO), {}, call->payload.exposed, std::move(call->payload.hold)});
    } else if (reply.fate == wire::RecallFate::kNeverBegun) {
      never_begun_.push_back(call);
    } else {
      answer.error = Errno(static_cast<int>(reply.status));
      answer.recalled = true;
      answer.exposed = call->payload.exposed;
      answer.hold = std::move(call->payload.hold);
      Finish(call, std::move(answer));
    }
  }
  SendAnew();
}

// In the order in which they were sent first, and before all that was asked for later.
void CallChannel::SendAnew() {
  if (!asked_after_.empty()) return;
  std::sort(never_begun_.begin(), never_begun_.end(),
            [](const CallState* a, const CallState* b) { return a->id > b->id; });
  for (CallState* call : std::exchange(never_begun_, {})) {
    AddAsOnlyWriter(counters_.repeated);
    waiting_.push_front(call);
  }
  SendWaiting();
}

void CallChannel::RepeatOrFail(CallState* call) {
  if (call->on_loss == OnLoss::kAsk) return AskAfter(call);
  if (call->on_loss == OnLoss::kFail) {
    AddAsOnlyWriter(counters_.failed_by_loss);
    FinishLater(call, Errno(EIO));
    return;
  }
  AddAsOnlyWriter(counters_.repeated);
  if (CanSend(*call)) {
    Send(call);
  } else {
    (call->kind == kMayWait ? waiting_may_wait_ : waiting_).push_front(call);
  }
}

bool CallChannel::Withdraw(CallId id, Errno error) {
  return WithdrawIf([id](const CallState& call) { return call.id == id; }, error) != 0;
}

void CallChannel::WithdrawPayload(absl::Span<const std::byte> memory, Errno error) {
  const std::less_equal<const std::byte*> at_or_before;
  WithdrawIf(
      [&](const CallState& call) {
        const absl::Span<const std::byte> payload =
            call.payload.exposed.empty() ? call.payload.inline_payload : call.payload.exposed;
        return !payload.empty() && at_or_before(memory.data(), payload.data()) &&
               at_or_before(payload.data() + payload.size(), memory.data() + memory.size());
      },
      error);
}

void CallChannel::FailOlder(Nanoseconds started_before, Errno error) {
  if (connection_ != nullptr && resumed_) return;
  WithdrawIf(
      [&](const CallState& call) {
        return call.started < started_before && call.kind != kSetUp;
      },
      error);
}

size_t CallChannel::WithdrawIf(absl::FunctionRef<bool(const CallState&)> matches, Errno error) {
  size_t count = 0;
  for (std::deque<CallState*>* queue :
       {&waiting_, &waiting_may_wait_, &kept_, &asked_after_, &never_begun_}) {
    count += std::erase_if(*queue, [&](CallState* call) {
      if (!matches(*call)) return false;
      if (queue == &kept_) retired_.push_back(call->slot);
      FinishLater(call, error);
      return true;
    });
  }
  return count;
}

}  // namespace rdmafs
