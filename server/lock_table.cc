#include "server/lock_table.h"

#include <vector>

#include "server/lock_table_state.h"

namespace rdmafs {
namespace {

using wire::LockRange;
using wire::LockType;
using FileId = OpenFile::FileId;

bool Valid(const LockRange& range) {
  return range.start <= range.end && range.end <= ~uint64_t{0} >> 1 &&
         range.type <= LockType::kUnlock;
}

}  // namespace

LockTable::LockTable(Limits limits) : state_(std::make_unique<State>(limits)) {}
LockTable::~LockTable() = default;

LockRange LockTable::Get(const FileId& id, const Owner& owner, const LockRange& range,
                         bool flock) const {
  LockRange none = range;
  none.type = LockType::kUnlock;
  if (!Valid(range)) return none;
  absl::MutexLock lock(&state_->mutex);
  auto file = state_->files.find(id);
  if (file == state_->files.end()) return none;
  return State::FirstConflict(file->second, owner, range, flock).value_or(none);
}

LockTable::WaitId LockTable::Set(const FileId& id, const Owner& owner, Through through,
                                 const LockRange& range, bool flock, bool wait, Reply<Unit> reply) {
  LockAnswers answers;
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

void LockTable::Cancel(WaitId id) {
  LockAnswers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto found = state.waits.find(id);
  if (found == state.waits.end()) return;
  const State::Waiting waiting = found->second;
  state.EndWait(state.files.at(waiting.file), waiting.wait, Errno(EINTR), answers);
  state.DropUnused(waiting.file);
}

void LockTable::ReleaseOwner(const FileId& id, const Owner& owner) {
  LockAnswers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto file = state.files.find(id);
  if (file == state.files.end() || file->second.ranges.count(owner) == 0) return;
  state.ChangeRanges(file->second, owner, [](RangeLocks& ranges) { ranges = RangeLocks(); });
  state.Serve(file->second, answers);
  state.DropUnused(id);
}

void LockTable::ReleaseThrough(const FileId& id, Through through) {
  LockAnswers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  auto found = state.files.find(id);
  if (found == state.files.end()) return;
  FileLocks& file = found->second;
  state.EndWaits(file, Errno(EBADF), answers,
                 [&](const LockWait& wait) { return wait.through == through; });
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
  LockAnswers answers;
  State& state = *state_;
  absl::MutexLock lock(&state.mutex);
  std::vector<FileId> ids;
  for (auto& [id, file] : state.files) {
    ids.push_back(id);
    state.EndWaits(file, Errno(ENOTCONN), answers,
                   [&](const LockWait& wait) { return wait.owner.session == session; });
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
  // Only when all of the session's locks are gone, for those who are served now wait for what is
  // left.
  for (const FileId& id : ids) {
    state.Serve(state.files.at(id), answers);
    state.DropUnused(id);
  }
  state.sessions.erase(session);
}

void LockTable::WatchHolders(std::function<void(uint64_t session, bool holds)> changed) {
  absl::MutexLock lock(&state_->mutex);
  state_->holders_changed = std::move(changed);
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
