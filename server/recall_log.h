// RecallLog: what a server process leaves to the next about the calls that must not be done twice:
// which were begun, what the files were like then, and how those that ended were answered.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/session.h"
#include "transport/base/unique_fd.h"
#include "transport/wire/messages.h"

namespace rdmafs::server {

// The last such call of one slot, in memory that outlives the process. Written by whoever has the
// call; `state` last of all, so that a process that dies at any instruction leaves what is true.
struct RecallRecord {
  enum State : uint32_t {
    kIdle = 0,   // no call of this sequence, or of a later one, was begun
    kBegun = 1,  // it may have been done, or not
    kDone = 2,   // `status` and `reply` are its answer
    kUndecided = 3,  // it may have been done, and nothing shows whether it was
  };
  static constexpr size_t kArgumentBytes = 1392;

  std::atomic<uint32_t> state;
  uint32_t sequence;
  uint64_t session[2];
  uint16_t channel, slot, opcode;
  uint16_t reply_size;
  uint32_t status;  // errno
  uint32_t uid;     // that it is done as

  // What there was before: see recall_evidence.h.
  int64_t begun_s;  // CLOCK_REALTIME_COARSE, which files' ctime is of
  uint32_t begun_ns;
  uint16_t body_size;  // of the request, in `arguments`; 0 when it did not fit
  uint16_t text_size;  // behind it
  uint64_t file_size;
  uint16_t evidence;  // bits of recall_evidence.h
  uint16_t first_size, second_size, reserved;
  std::array<std::byte, wire::kMaxHandleBytes> first, second;

  std::array<std::byte, KeptReply::kMaxBodyBytes> reply;
  std::array<std::byte, kArgumentBytes> arguments;
};
static_assert(sizeof(RecallRecord) == 1976 && std::atomic<uint32_t>::is_always_lock_free);

// Thread-safe. The memory is a file that is mapped, so a process that is killed loses nothing of
// it; it is not synced, so after a restart of the host it counts only when the last process ended
// in order.
class RecallLog {
 public:
  struct Options {
    std::array<uint64_t, 2> boot{};  // of the host
    uint32_t record_count = 8192;    // slots that can be known at a time
    uint32_t session_count = 4096;
    int lock_patience_ms = 5000;  // for the process before this one to be gone
  };
  // Makes the file when it is not there, or is another version's. Waits until no other process has
  // it: one that was killed has it until the last of its system calls is over, and only then can be
  // said what it has done. Blocks.
  static absl::StatusOr<std::unique_ptr<RecallLog>> Open(const std::string& path,
                                                         const Options& options);
  // The same over a file without a name.
  static absl::StatusOr<std::unique_ptr<RecallLog>> Over(UniqueFd file, const Options& options);
  ~RecallLog();
  RecallLog(const RecallLog&) = delete;
  RecallLog& operator=(const RecallLog&) = delete;

  // False: there is no room, and nothing will be known of its calls. `key`: the name of the key
  // that it was begun with, or "".
  bool AddSession(const SessionId& session, std::string_view key);
  // It is over. What is known of its calls stays until the room is needed.
  void EndSession(const SessionId& session);

  // For the calls of one slot of a session that goes on; stays the slot's. nullptr: there is no
  // room.
  RecallRecord* RecordOf(const SessionId& session, uint16_t channel, uint16_t slot);

  struct Question {
    SessionId session;
    std::string_view key;
    uint16_t channel, slot;
    uint32_t sequence;
    uint16_t opcode;
  };
  enum class Fate {
    kUnknown,     // nobody knows
    kNeverBegun,  // and it never will be
    kDone,
  };
  struct Answer {
    Fate fate = Fate::kUnknown;
    KeptReply reply;      // kDone
    std::string request;  // its body; "" when it is not known
  };
  Answer Find(const Question& question) const;

  // Of former processes, as long as this one has no session.
  std::vector<RecallRecord*> RecordsIn(RecallRecord::State state);

  // All calls are over: what is known of them is as true as any answer, also after a restart of the
  // host. Waits for the disk.
  void EndInOrder();

 private:
  struct Header;
  struct SessionRow;
  using Place = std::pair<uint16_t, uint16_t>;  // channel, slot
  struct Known {
    uint32_t row;
    bool over;
    std::map<Place, uint32_t> records;
  };

  RecallLog(UniqueFd file, std::byte* memory, size_t size, const Options& options);
  static absl::StatusOr<UniqueFd> OpenFile(const std::string& path, int patience_ms);
  void TakeOver();
  Header& header() const;
  RecallRecord& record(uint32_t index) const;
  SessionRow& row(uint32_t index) const;
  // Forgets the session that was over first. False: there is none.
  bool ForgetOldest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UniqueFd file_;  // locked
  std::byte* const memory_;
  const size_t size_;
  const Options options_;

  mutable absl::Mutex mutex_;
  std::map<SessionId, Known> sessions_ ABSL_GUARDED_BY(mutex_);
  std::deque<SessionId> over_ ABSL_GUARDED_BY(mutex_);  // the first one first
  std::vector<uint32_t> free_records_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_rows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::server
