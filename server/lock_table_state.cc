#include "server/lock_table_state.h"

namespace rdmafs {

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

void LockTable::State::DropFlock(FileLocks& file, const Owner& owner) {
  if (file.flocks.erase(owner) != 0) CountHeld(owner.session, 1, 0);
}

void LockTable::State::CountHeld(uint64_t session, size_t before, size_t after) {
  held += after - before;
  size_t& of_session = sessions[session].held;
  const bool held_before = of_session != 0;
  of_session += after - before;
  if (held_before != (of_session != 0) && holders_changed) holders_changed(session, !held_before);
}

bool LockTable::State::WouldDeadlock(const FileLocks& file, const Owner& owner,
                                     const LockRange& range) const {
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

std::list<LockWait>::iterator LockTable::State::EndWait(FileLocks& file,
                                                        std::list<LockWait>::iterator wait,
                                                        Errno error, LockAnswers& answers) {
  answers.Add(std::move(wait->reply), error);
  if (auto its_waits = waits_of.find(wait->owner); its_waits != waits_of.end()) {
    its_waits->second.erase(wait->id);
    if (its_waits->second.empty()) waits_of.erase(its_waits);
  }
  waits.erase(wait->id);
  --sessions[wait->owner.session].waiting;
  return file.queue.erase(wait);
}

void LockTable::State::Serve(FileLocks& file, LockAnswers& answers) {
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

}  // namespace rdmafs
