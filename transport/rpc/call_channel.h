// CallChannel: the client's side of a connection: calls in flight by slot, credits, answers; and
// what becomes of them when the connection is lost and another takes its place.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/connection.h"
#include "transport/wire/messages.h"

namespace rdmafs {

// What a call carries besides its body.
struct CallPayload {
  // <= wire::kMaxInlineBytes; kept by `hold` or the asker.
  absl::Span<const std::byte> inline_payload;
  absl::Span<std::byte> exposed;               // memory for the server to read or write
  bool server_writes = false;                  // kFlagSink, else kFlagSource
  bool by_pipe = false;                        // see Outgoing::by_pipe
  absl::Span<std::byte> foreign;               // see Outgoing::foreign
  Buffer hold;
};

// How a call came out. `error` is the server's answer or the way there; message is the reply when
// one came (its body is to be decoded when error is OK).
struct Answer {
  Errno error;
  ReceivedMessage message;
  absl::Span<std::byte> exposed;  // as it was given with the call
  Buffer hold;
  bool recalled = false;  // the answer was kept by the server, and told later: see body()
  absl::Span<const std::byte> body() const {
    return recalled ? message.inline_payload() : message.body();
  }
};
using AnswerFunction = UniqueFunction<void(Answer), 96>;
using CallId = uint64_t;  // never 0

// What may be done with a call whose answer was lost, and the server's memory of it, too.
enum class OnLoss : uint8_t {
  kRepeat,  // doing it again gives the same: it is sent in the next session
  kAsk,     // it must not: the server is asked what became of it. EIO when that is not known
  kFail,    // nobody needs it any more, or can know: EIO
};

// How the server names a session.
using SessionName = std::array<uint64_t, 2>;
inline constexpr SessionName kNoSession = {0, 0};

// Owned by one shard thread. Each call's function is called exactly once, on that thread, never
// inside Start(). Bounds: `credits` calls at the server, kMaxWaiting waiting here.
class CallChannel final : public ConnectionHandler {
 public:
  static constexpr size_t kMaxWaiting = 4096;
  // How often the server is asked whether a call that was given up still runs.
  static constexpr Nanoseconds kRetirePause = kSecond;

  struct Counters {
    std::atomic<uint64_t> calls{0}, answers{0}, repeated{0}, failed_by_loss{0}, losses{0};
    std::atomic<uint32_t> in_flight{0}, waiting{0}, credits{0};
  };
  // ConnectionCounters summed over all connections that the channel has had.
  struct Traffic {
    uint64_t messages_sent = 0, messages_received = 0, bytes_sent = 0, bytes_received = 0,
             copied_bytes = 0;
  };
  class Owner {
   public:
    virtual ~Owner() = default;
    // The connection is gone; the calls stay. The channel may be given another with Connect().
    virtual void OnChannelLost(CallChannel& channel, const absl::Status& reason) = 0;
  };

  CallChannel(EventLoop& loop, Owner& owner);
  // The connection has closed (IsConnected() is false); open calls answer ENOTCONN.
  ~CallChannel() override;

  // Starts the handshake's part: only calls made with StartFirst() go out until Resume().
  void Connect(std::unique_ptr<Connection> connection);
  // Sends what was in flight when the last connection was lost, then what waits. `credits`: what
  // the server granted. In the session of the last Resume() that had a connection the server knows
  // the slots: each call is replayed as it was, and none is done twice. In another one a call is
  // repeated, asked after (in the session that it was sent in) or fails, by its OnLoss; new ones
  // wait until all have been asked after; that it names an open file which could not be opened
  // again (EBADF) is told as ESTALE. Nothing happens when the connection has been lost meanwhile.
  void Resume(uint16_t credits, const SessionName& session);
  // Ends the connection; OnChannelLost follows, unless there was none.
  void Disconnect(absl::Status reason);
  bool IsConnected() const { return connection_ != nullptr; }
  const Connection* connection() const { return connection_.get(); }

  // Encodes `message` and sends it, now or when there is a credit and a connection. An E2BIG body
  // (over wire::kMaxBodyBytes) is answered without being sent.
  template <typename Message>
  CallId Start(const Message& message, CallPayload payload, OnLoss on_loss, AnswerFunction answer) {
    return StartWith(Message::kOpcode, message, std::move(payload), on_loss, std::move(answer),
                     kOrdinary);
  }
  // For a call that may wait at the server for ever (a lock): at most half the credits are taken by
  // these.
  template <typename Message>
  CallId StartWaiting(const Message& message, AnswerFunction answer) {
    return StartWith(Message::kOpcode, message, {}, OnLoss::kRepeat, std::move(answer), kMayWait);
  }
  // Between Connect() and Resume(): set-up calls, in the order they are made, beside those kept.
  template <typename Message>
  CallId StartFirst(const Message& message, CallPayload payload, AnswerFunction answer) {
    return StartWith(Message::kOpcode, message, std::move(payload), OnLoss::kFail,
                     std::move(answer), kSetUp);
  }

  // Where a call stands at the server, for Cancel messages; false when it is not in flight.
  bool Find(CallId id, uint32_t* slot, uint32_t* sequence) const;
  // Answers a call that is not at a connected server, with `error`; false when it is. If it had
  // been sent before a loss, its slot is used again only when the server has confirmed that it does
  // not run.
  bool Withdraw(CallId id, Errno error);
  // The same for the calls whose payload lies in `memory`.
  void WithdrawPayload(absl::Span<const std::byte> memory, Errno error);
  // While there is no connection: answers every call that has waited since before `started_before`.
  void FailOlder(Nanoseconds started_before, Errno error);
  // Age of the oldest ordinary call at the server, 0 when there is none.
  Nanoseconds OldestInFlight() const;

  uint32_t in_flight_count() const { return in_flight_; }
  const Counters& counters() const { return counters_; }
  // Any thread.
  Traffic traffic() const;

  // ConnectionHandler
  void OnMessage(Connection& connection, ReceivedMessage message) override;
  void OnClosed(Connection& connection, const absl::Status& reason) override;

 private:
  enum Kind : uint8_t { kOrdinary, kMayWait, kSetUp };
  struct CallState;

  template <typename Message>
  CallId StartWith(wire::Opcode opcode, const Message& message, CallPayload payload, OnLoss on_loss,
                   AnswerFunction answer, Kind kind);
  CallState* NewCall();
  absl::Span<std::byte> BodySpace(CallState* call);
  CallId Launch(CallState* call, wire::Opcode opcode, absl::Span<const std::byte> body,
                CallPayload payload, OnLoss on_loss, AnswerFunction answer, Kind kind);
  bool CanSend(const CallState& call) const;
  void Send(CallState* call);
  Errno PostOn(uint16_t slot, uint32_t sequence, CallState* call);
  void Replay(CallState* call);
  void RepeatOrFail(CallState* call);
  void AskAfter(CallState* call);
  void TakeFate(CallId id, Answer answer);
  void SendAnew();
  void SendWaiting();
  // Takes the calls that `matches` out of those that are not at a server, and answers them.
  size_t WithdrawIf(absl::FunctionRef<bool(const CallState&)> matches, Errno error);
  void Finish(CallState* call, Answer answer);
  void FinishLater(CallState* call, Errno error);
  void RetireSlots();
  void RetireSlot(uint16_t slot);

  EventLoop& loop_;
  Owner& owner_;
  Counters counters_;

  mutable absl::Mutex traffic_mutex_;  // taken by set-up, loss and traffic(); not by calls
  const Connection* counted_ ABSL_GUARDED_BY(traffic_mutex_) = nullptr;
  Traffic past_ ABSL_GUARDED_BY(traffic_mutex_);

  std::unique_ptr<Connection> connection_;
  bool resumed_ = false;
  SessionName session_ = kNoSession;  // that what is kept belongs to
  uint64_t connects_ = 0;
  uint16_t credits_ = 1;
  uint32_t in_flight_ = 0;
  uint32_t may_wait_in_flight_ = 0;
  CallId next_id_ = 1;
  std::array<CallState*, wire::kMaxCredits> slots_{};
  std::array<uint32_t, wire::kMaxCredits> sequences_{};
  bool set_up_slot_free_ = false;
  std::vector<uint16_t> free_slots_;           // the most recently used last
  std::deque<CallState*> kept_;                // were at the server when the connection was lost
  std::vector<uint16_t> retired_;              // slots of those that were withdrawn
  std::deque<CallState*> asked_after_;         // the server is to say what became of them
  // What it said, of calls that are to be sent anew after the last such answer.
  std::deque<CallState*> never_begun_;
  std::deque<CallState*> waiting_;
  std::deque<CallState*> waiting_may_wait_;
  std::vector<std::unique_ptr<CallState>> all_;
  std::vector<CallState*> free_calls_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// One call. Reused: the data path allocates none once as many exist as were ever in flight.
struct CallChannel::CallState {
  CallId id = 0;
  wire::Opcode opcode{};
  OnLoss on_loss = OnLoss::kFail;
  Kind kind = kOrdinary;
  bool of_former_session = false;  // it was asked in an earlier session than the one that answers
  uint16_t slot = 0;
  uint32_t sequence = 0;  // with the slot in `session`: where it was sent last
  SessionName session = kNoSession;
  uint32_t body_size = 0;
  Nanoseconds started = 0;
  CallPayload payload;
  AnswerFunction answer;
  std::array<std::byte, wire::kMaxBodyBytes> body;
};

inline absl::Span<std::byte> CallChannel::BodySpace(CallState* call) {
  return absl::MakeSpan(call->body);
}

template <typename Message>
CallId CallChannel::StartWith(wire::Opcode opcode, const Message& message, CallPayload payload,
                              OnLoss on_loss, AnswerFunction answer, Kind kind) {
  CallState* call = NewCall();
  // An empty body is a message's right (EmptyBody): data() tells it from one that did not fit.
  absl::Span<const std::byte> body = wire::Encode(message, BodySpace(call));
  return Launch(call, opcode, body, std::move(payload), on_loss, std::move(answer), kind);
}

}  // namespace rdmafs
