// SlotMemory: what the server remembers of a connection's slots, so that a call which the client
// sends again on its next connection is not done twice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "transport/base/errno.h"

namespace rdmafs::server {

class Call;
struct RecallRecord;

// The reply of a call that must not be done again. Bodies are small: none of these has payload.
struct KeptReply {
  static constexpr size_t kMaxBodyBytes = 256;
  Errno status;
  uint16_t size_bytes = 0;
  std::array<std::byte, kMaxBodyBytes> bytes;
  absl::Span<const std::byte> body() const { return absl::MakeConstSpan(bytes).first(size_bytes); }
};

// A call that goes on after its connection was lost. Thread-safe; shared by the call and by its
// slot.
class LateCall {
 public:
  // The call is done; `reply` is null when it may be done again. Returns the replay that waits for
  // it, or nullptr.
  Call* Finish(std::unique_ptr<KeptReply> reply);
  // False: it is done. Else Finish() will return `replay`.
  bool Wait(Call& replay);
  // `replay` waits no longer. False: Finish() has returned it.
  bool StopWaiting(Call& replay);
  bool done() const;
  // What Finish() was given; once it is done.
  std::unique_ptr<KeptReply> TakeReply();

 private:
  mutable absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  Call* waiting_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::unique_ptr<KeptReply> reply_ ABSL_GUARDED_BY(mutex_);
};

// Owned by whoever has the connection: its channel, then the session, then the next channel.
struct Slot {
  uint32_t sequence = 0;  // of the last call
  uint16_t opcode = 0;    // its
  // Taken over from an earlier connection, and not used on this one: the last call may come once
  // more.
  bool may_replay = false;
  bool has_reply = false;            // `reply` is the last call's
  Call* call = nullptr;              // under way on this connection
  std::unique_ptr<KeptReply> reply;  // made when first needed
  std::shared_ptr<LateCall> late;    // the last call, while it goes on for an earlier connection
  RecallRecord* record = nullptr;    // what the next process will know; made when first needed
};
using SlotMemory = std::vector<Slot>;

}  // namespace rdmafs::server
