#include "server/lock_table.h"

#include <list>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "server/range_locks.h"

namespace rdmafs {
namespace {

using wire::LockRange;
using wire::LockType;
using FileId = OpenFile::FileId;

struct FileIdHash {
  size_t operator()(const FileId& id) const {
    return static_cast<size_t>((id.inode + id.device * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu >> 7);
  }
};

struct WholeFileLock {  // flock(2)
  LockType type;
  uint32_t pid;
  LockTable::Through through;
};

struct Wait {
  LockTable::WaitId id;
  LockTable::Owner owner;
  LockTable::Through through;
  LockRange range;
  bool flock;
  Reply<Unit> reply;
};

// The locks on one file, and who waits for them in the order they came.
struct FileLocks {
  std::map<LockTable::Owner, RangeLocks> ranges;
  std::map<LockTable::Owner, WholeFileLock> flocks;
  std::list<Wait> queue;
  bool unused() const { return ranges.empty() && flocks.empty() && queue.empty(); }
};

// What to tell whom, once the table's mutex is released.
class Answers {
 public:
  Answers() = default;
  ~Answers() {
    for (auto& [reply, error] : answers_) reply.Complete(ToResult(error));
  }
  Answers(const Answers&) = delete;
  Answers& operator=(const Answers&) = delete;
  void Add(Reply<Unit> reply, Errno error) { answers_.emplace_back(std::move(reply), error); }

 private:
  std::vector<std::pair<Reply<Unit>, Errno>> answers_;
};

bool Conflicts(LockType a, LockType b) { return a == LockType::kWrite || b == LockType::kWrite; }

bool Valid(const LockRange& range) {
  return range.start <= range.end && range.end <= ~uint64_t{0} >> 1 && range.type <= LockType::kUnlock;
}

}  // namespace

struct LockTable::State {
  explicit State(Limits with) : limits(with) {}

  // Calls `visit(owner, range)` for every held lock in the way, until it returns false.
  template <typename Visit>
  static void ForEachConflict(const FileLocks& file, const Owner& owner, const LockRange& range, bool flock,
                              Visit visit) {
    if (range.type == LockType::kUnlock) return;
    if (flock) {
      for (const auto& [other, held] : file.flocks) {
        if (other == owner || !Conflicts(held.type, range.type)) continue;
        if (!visit(other, LockRange{other.owner, 0, ~uint64_t{0} >> 1, held.type, held.pid})) return;
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
  Errno Hold(FileLocks& file, const Owner& owner, const Through& through, const LockRange& range, bool flock)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  Errno HoldRange(FileLocks& file, const Owner& owner, const Through& through, const LockRange& range)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void DropFlock(FileLocks& file, const Owner& owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Applies `change` to an owner's ranges and keeps the counts.
  template <typename Change>
  void ChangeRanges(FileLocks& file, const Owner& owner, Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void CountHeld(uint64_t session, size_t before, size_t after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // Whether `owner`, were it to wait for this range, would wait for itself.
  bool WouldDeadlock(const FileLocks& file, const Owner& owner, const LockRange& range) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex);
  // Takes a wait out of the queue; its answer is `error`.
  std::list<Wait>::iterator EndWait(FileLocks& file, std::list<Wait>::iterator wait, Errno error,
                                    Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  template <typename Matches>
  void EndWaits(FileLocks& file, Errno error, Answers& answers, Matches matches)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  // Serves those that wait and no longer have to.
  void Serve(FileLocks& file, Answers& answers) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  void DropUnused(const FileId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    auto file = files.find(id);
    if (file != files.end() && file->second.unused()) files.erase(file);
  }

  struct Counts {
    size_t held = 0, waiting = 0;
  };
  struct Waiting {
    FileId file;
    std::list<Wait>::iterator wait;
  };
  const Limits limits;
  mutable absl::Mutex mutex;
  std::unordered_map<FileId, FileLocks, FileIdHash> files ABSL_GUARDED_BY(mutex);
  std::unordered_map<WaitId, Waiting> waits ABSL_GUARDED_BY(mutex);
  std::map<Owner, std::set<WaitId>> waits_of ABSL_GUARDED_BY(mutex);  // of fcntl owners
  std::map<uint64_t, Counts> sessions ABSL_GUARDED_BY(mutex);
  size_t held ABSL_GUARDED_BY(mutex) = 0;
  WaitId next_wait ABSL_GUARDED_BY(mutex) = 1;
};

LockTable::LockTable(Limits limits) : state_(std::make_unique<State>(limits)) {}
LockTable::~LockTable() = default;

LockRange LockTable::Get(const FileId& id, const Owner& owner, const LockRange& range, bool flock) const {
  LockRange none = range;
  none.type = LockType::kUnlock;
  if (!Valid(range)) return none;
  absl::MutexLock lock(&state_->mutex);
  auto file = state_->files.find(id);
  if (file == state_->files.end()) return none;
  return State::FirstConflict(file->second, owner, range, flock).value_or(none);
}

LockTable::WaitId LockTable::Set(const FileId& id, const Owner& owner, Through through, const LockRange& range,
                                 bool flock, bool wait, Reply<Unit> reply) {
  Answers answers;
  if (!Valid(range)) {
    answers.Add(std::move(reply), Errno(EINVAL));
    return 0;
  }
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  FileLocks& file = state.files[id];
  // flock(2): a lock that changes is given up first, and is lost when the new one cannot be had.
  if (flock) {
    auto held = file.flocks.find(owner);
    if (held != file.flocks.end() && held->second.type != range.type) state.DropFlock(file, owner);
  }
  WaitId id_of_wait = 0;
  if (!State::FirstConflict(file, owner, range, flock)) {
    answers.Add(std::move(reply), state.Hold(file, owner, through, range, flock));
  } else if (!wait) {
    answers.Add(std::move(reply), Errno(EAGAIN));
  } else if (!flock && state.WouldDeadlock(file, owner, range)) {
    answers.Add(std::move(reply), Errno(EDEADLK));
  } else if (state.sessions[owner.session].waiting >= state.limits.waiting) {
    answers.Add(std::move(reply), Errno(ENOLCK));
  } else {
    id_of_wait = state.next_wait++;
    file.queue.push_back({id_of_wait, owner, through, range, flock, std::move(reply)});
    state.waits.emplace(id_of_wait, State::Waiting{id, std::prev(file.queue.end())});
    if (!flock) state.waits_of[owner].insert(id_of_wait);
    ++state.sessions[owner.session].waiting;
  }
  state.Serve(file, answers);
  state.DropUnused(id);
  return id_of_wait;
}

Errno LockTable::State::Hold(FileLocks& file, const Owner& owner, const Through& through,
                             const LockRange& range, bool flock) {
  if (!flock) return HoldRange(file, owner, through, range);
  if (range.type == LockType::kUnlock || file.flocks.count(owner) != 0) return kOk;
  if (sessions[owner.session].held >= limits.held) return Errno(ENOLCK);
  file.flocks[owner] = {range.type, range.pid, through};
  CountHeld(owner.session, 0, 1);
  return kOk;
}

Errno LockTable::State::HoldRange(FileLocks& file, const Owner& owner, const Through& through,
                                  const LockRange& range) {
  const bool unlock = range.type == LockType::kUnlock;
  auto found = file.ranges.find(owner);
  if (unlock && found == file.ranges.end()) return kOk;
  // Unlocking makes more ranges only by a split.
  const bool grows = !unlock || found->second.WouldSplit(range);
  if (grows && sessions[owner.session].held >= limits.held) return Errno(ENOLCK);
  ChangeRanges(file, owner, [&](RangeLocks& ranges) { ranges.Apply(range, through); });
  return kOk;
}

template <typename Change>
void LockTable::State::ChangeRanges(FileLocks& file, const Owner& owner, Change change) {
  RangeLocks& ranges = file.ranges[owner];
  const size_t before = ranges.count();
  change(ranges);
  const size_t after = ranges.count();
  if (after == 0) file.ranges.erase(owner);
  CountHeld(owner.session, before, after);
}

void LockTable::State::DropFlock(FileLocks& file, const Owner& owner) {
  if (file.flocks.erase(owner) != 0) CountHeld(owner.session, 1, 0);
}

void LockTable::State::CountHeld(uint64_t session, size_t before, size_t after) {
  held += after - before;
  sessions[session].held += after - before;
}

bool LockTable::State::WouldDeadlock(const FileLocks& file, const Owner& owner, const LockRange& range) const {
  std::set<Owner> seen;
  std::vector<Owner> next;
  const auto add = [&](const Owner& other, const LockRange&) {
    if (seen.insert(other).second) next.push_back(other);
    return true;
  };
  ForEachConflict(file, owner, range, false, add);
  while (!next.empty() && seen.count(owner) == 0) {
    const Owner holder = next.back();
    next.pop_back();
    auto its_waits = waits_of.find(holder);
    if (its_waits == waits_of.end()) continue;
    for (WaitId id : its_waits->second) {
      const Waiting& waiting = waits.at(id);
      ForEachConflict(files.at(waiting.file), holder, waiting.wait->range, false, add);
    }
  }
  return seen.count(owner) != 0;
}

std::list<Wait>::iterator LockTable::State::EndWait(FileLocks& file, std::list<Wait>::iterator wait,
                                                    Errno error, Answers& answers) {
  answers.Add(std::move(wait->reply), error);
  if (auto its_waits = waits_of.find(wait->owner); its_waits != waits_of.end()) {
    its_waits->second.erase(wait->id);
    if (its_waits->second.empty()) waits_of.erase(its_waits);
  }
  waits.erase(wait->id);
  --sessions[wait->owner.session].waiting;
  return file.queue.erase(wait);
}

template <typename Matches>
void LockTable::State::EndWaits(FileLocks& file, Errno error, Answers& answers, Matches matches) {
  for (auto wait = file.queue.begin(); wait != file.queue.end();) {
    wait = matches(*wait) ? EndWait(file, wait, error, answers) : std::next(wait);
  }
}

void LockTable::State::Serve(FileLocks& file, Answers& answers) {
  bool served = false;
  for (auto wait = file.queue.begin(); wait != file.queue.end();) {
    if (FirstConflict(file, wait->owner, wait->range, wait->flock)) {
      ++wait;
      continue;
    }
    const Errno error = Hold(file, wait->owner, wait->through, wait->range, wait->flock);
    wait = EndWait(file, wait, error, answers);
    served = true;
  }
  if (!served) return;
  // Those left wait for new holders now.
  for (auto wait = file.queue.begin(); wait != file.queue.end();) {
    const bool deadlock = !wait->flock && WouldDeadlock(file, wait->owner, wait->range);
    wait = deadlock ? EndWait(file, wait, Errno(EDEADLK), answers) : std::next(wait);
  }
}

void LockTable::Cancel(WaitId id) {
  Answers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto found = state.waits.find(id);
  if (found == state.waits.end()) return;
  const State::Waiting waiting = found->second;
  state.EndWait(state.files.at(waiting.file), waiting.wait, Errno(EINTR), answers);
  state.DropUnused(waiting.file);
}

void LockTable::ReleaseOwner(const FileId& id, const Owner& owner) {
  Answers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto file = state.files.find(id);
  if (file == state.files.end() || file->second.ranges.count(owner) == 0) return;
  state.ChangeRanges(file->second, owner, [](RangeLocks& ranges) { ranges = RangeLocks(); });
  state.Serve(file->second, answers);
  state.DropUnused(id);
}

void LockTable::ReleaseThrough(const FileId& id, Through through) {
  Answers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto found = state.files.find(id);
  if (found == state.files.end()) return;
  FileLocks& file = found->second;
  state.EndWaits(file, Errno(EBADF), answers, [&](const Wait& wait) { return wait.through == through; });
  std::vector<Owner> owners;
  for (const auto& [owner, ranges] : file.ranges) owners.push_back(owner);
  for (const Owner& owner : owners) {
    if (owner.session != through.first) continue;
    state.ChangeRanges(file, owner, [&](RangeLocks& ranges) { ranges.ReleaseThrough(through); });
  }
  owners.clear();
  for (const auto& [owner, held] : file.flocks) {
    if (held.through == through) owners.push_back(owner);
  }
  for (const Owner& owner : owners) state.DropFlock(file, owner);
  state.Serve(file, answers);
  state.DropUnused(id);
}

void LockTable::ReleaseSession(uint64_t session) {
  Answers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  std::vector<FileId> ids;
  for (auto& [id, file] : state.files) {
    ids.push_back(id);
    state.EndWaits(file, Errno(ENOTCONN), answers, [&](const Wait& wait) { return wait.owner.session == session; });
    std::vector<Owner> owners;
    for (const auto& [owner, ranges] : file.ranges) {
      if (owner.session == session) owners.push_back(owner);
    }
    for (const Owner& owner : owners) {
      state.ChangeRanges(file, owner, [](RangeLocks& ranges) { ranges = RangeLocks(); });
    }
    owners.clear();
    for (const auto& [owner, held] : file.flocks) {
      if (owner.session == session) owners.push_back(owner);
    }
    for (const Owner& owner : owners) state.DropFlock(file, owner);
  }
  // Only when all of the session's locks are gone, for those who are served now wait for what is left.
  for (const FileId& id : ids) {
    state.Serve(state.files.at(id), answers);
    state.DropUnused(id);
  }
  state.sessions.erase(session);
}

size_t LockTable::held_count() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->held;
}

size_t LockTable::waiting_count() const {
  absl::MutexLock lock(&state_->mutex);
  return state_->waits.size();
}

}  // namespace rdmafs
