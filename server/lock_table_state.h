// LockTable::State: the locks and waits of a LockTable, under its mutex.
#pragma once

#include <list>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/lock_table.h"
#include "server/range_locks.h"

namespace rdmafs {

struct LockedFileHash {
  size_t operator()(const OpenFile::FileId& id) const {
    return static_cast<size_t>((id.inode + id.device * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu >>
                               7);
  }
};

struct WholeFileLock {  // flock(2)
  wire::LockType type;
  uint32_t pid;
  LockTable::Through through;
};

struct LockWait {
  LockTable::WaitId id;
  LockTable::Owner owner;
  LockTable::Through through;
  wire::LockRange range;
  bool flock;
  Reply<Unit> reply;
};

// The locks on one file, and who waits for them in the order they came.
struct FileLocks {
  std::map<LockTable::Owner, RangeLocks> ranges;
  std::map<LockTable::Owner, WholeFileLock> flocks;
  std::list<LockWait> queue;
  bool unused() const { return ranges.empty() && flocks.empty() && queue.empty(); }
};

// What to tell whom, once the table's mutex is released.
class LockAnswers {
 public:
  LockAnswers() = default;
  ~LockAnswers() {
    for (auto& [reply, error] : answers_) reply.Complete(ToResult(error));
  }
  LockAnswers(const LockAnswers&) = delete;
  LockAnswers& operator=(const LockAnswers&) = delete;
  void Add(Reply<Unit> reply, Errno error) { answers_.emplace_back(std::move(reply), error); }

 private:
  std::vector<std::pair<Reply<Unit>, Errno>> answers_;
};

inline bool LocksConflict(wire::LockType a, wire::LockType b) {
  return a == wire::LockType::kWrite || b == wire::LockType::kWrite;
}

struct LockTable::State {
  using FileId = OpenFile::FileId;
  using LockRange = wire::LockRange;
  using LockType = wire::LockType;

  explicit State(Limits with) : limits(with) {}

  // Calls `visit(owner, range)` for every held lock in the way, until it returns false.
  template <typename Visit>
  static void ForEachConflict(const FileLocks& file, const Owner& owner, const LockRange& range,
                              bool flock, Visit visit) {
    if (range.type == LockType::kUnlock) return;
    if (flock) {
      for (const auto& [other, held] : file.flocks) {
        if (other == owner || !LocksConflict(held.type, range.type)) continue;
        if (!visit(other, LockRange{other.owner, 0, ~uint64_t{0} >> 1, held.type, held.pid}))
          return;
      }
      return;
    }
    for (const auto& [other, ranges] : file.ranges) {
      if (other == owner) continue;
      auto conflict = ranges.FindConflict(range);
      if (!conflict) continue;
      conflict->owner = other.owner;
      if (!visit(other, *conflict)) return;
    }
  }
  static std::optional<LockRange> FirstConflict(const FileLocks& file, const Owner& owner,
                                                const LockRange& range, bool flock) {
    std::optional<LockRange> first;
    ForEachConflict(file, owner, range, flock, [&](const Owner&, const LockRange& in_the_way) {
      first = in_the_way;
      return false;
    });
    return first;
  }

  // ENOLCK when the session would hold too much.
  Errno Hold(FileLocks& file, const Owner& owner, const Through& through, const LockRange& range,
             bool flock) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  Errno HoldRange(FileLocks& file, const Owner& owner, const Through& through,
                  const LockRange& range) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void DropFlock(FileLocks& file, const Owner& owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Applies `change` to an owner's ranges and keeps the counts.
  template <typename Change>
  void ChangeRanges(FileLocks& file, const Owner& owner, Change change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void CountHeld(uint64_t session, size_t before, size_t after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // Whether `owner`, were it to wait for this range, would wait for itself.
  bool WouldDeadlock(const FileLocks& file, const Owner& owner, const LockRange& range) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex);
  // Takes a wait out of the queue; its answer is `error`.
  std::list<LockWait>::iterator EndWait(FileLocks& file, std::list<LockWait>::iterator wait,
                                        Errno error, LockAnswers& answers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  template <typename Matches>
  void EndWaits(FileLocks& file, Errno error, LockAnswers& answers, Matches matches)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Serves those that wait and no longer have to.
  void Serve(FileLocks& file, LockAnswers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void DropUnused(const FileId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto file = files.find(id);
    if (file != files.end() && file->second.unused()) files.erase(file);
  }

  struct Counts {
    size_t held = 0, waiting = 0;
  };
  struct Waiting {
    FileId file;
    std::list<LockWait>::iterator wait;
  };
  const Limits limits;
  mutable absl::Mutex mutex;
  std::unordered_map<FileId, FileLocks, LockedFileHash> files ABSL_GUARDED_BY(mutex);
  std::unordered_map<WaitId, Waiting> waits ABSL_GUARDED_BY(mutex);
  std::map<Owner, std::set<WaitId>> waits_of ABSL_GUARDED_BY(mutex);  // of fcntl owners
  std::map<uint64_t, Counts> sessions ABSL_GUARDED_BY(mutex);
  size_t held ABSL_GUARDED_BY(mutex) = 0;
  WaitId next_wait ABSL_GUARDED_BY(mutex) = 1;
  std::function<void(uint64_t, bool)> holders_changed ABSL_GUARDED_BY(mutex);
};

template <typename Change>
void LockTable::State::ChangeRanges(FileLocks& file, const Owner& owner, Change change) {
  RangeLocks& ranges = file.ranges[owner];
  const size_t before = ranges.count();
  change(ranges);
  const size_t after = ranges.count();
  if (after == 0) file.ranges.erase(owner);
  CountHeld(owner.session, before, after);
}

template <typename Matches>
void LockTable::State::EndWaits(FileLocks& file, Errno error, LockAnswers& answers,
                                Matches matches) {
  for (auto wait = file.queue.begin(); wait != file.queue.end();) {
    wait = matches(*wait) ? EndWait(file, wait, error, answers) : std::next(wait);
  }
}

}  // namespace rdmafs
