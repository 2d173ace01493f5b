#include "server/range_locks.h"

#include <algorithm>

namespace rdmafs {

void RangeLocks::Apply(const wire::LockRange& range, const LockTable::Through& through) {
  Cut(range.start, range.end);
  if (range.type == wire::LockType::kUnlock) return;
  Join(held_.emplace(range.start, Held{range.end, range.type, range.pid, through}).first);
}

void RangeLocks::ReleaseThrough(const LockTable::Through& through) {
  std::erase_if(held_, [&](const auto& held) { return held.second.through == through; });
}

bool RangeLocks::WouldSplit(const wire::LockRange& range) const {
  auto held = FirstFrom(range.start);
  return held != held_.end() && held->first < range.start && held->second.end > range.end;
}

std::optional<wire::LockRange> RangeLocks::FindConflict(const wire::LockRange& range) const {
  for (auto held = FirstFrom(range.start); held != held_.end() && held->first <= range.end;
       ++held) {
    if (range.type == wire::LockType::kRead && held->second.type == wire::LockType::kRead) continue;
    return wire::LockRange{0, held->first, held->second.end, held->second.type, held->second.pid};
  }
  return std::nullopt;
}

RangeLocks::Map::const_iterator RangeLocks::FirstFrom(uint64_t at) const {
  auto held = held_.upper_bound(at);
  if (held != held_.begin() && std::prev(held)->second.end >= at) --held;
  return held;
}

void RangeLocks::Cut(uint64_t start, uint64_t end) {
  auto next = FirstFrom(start);
  while (next != held_.end() && next->first <= end) {
    const auto [old_start, old] = *next;
    next = held_.erase(next);
    if (old_start < start) {
      Held left = old;
      left.end = start - 1;
      held_.emplace(old_start, left);
    }
    if (old.end > end) next = held_.emplace(end + 1, old).first;
  }
}

void RangeLocks::Join(Map::iterator at) {
  const auto alike = [](const Held& a, const Held& b) {
    return a.type == b.type && a.through == b.through;
  };
  auto next = std::next(at);
  if (next != held_.end() && at->second.end + 1 == next->first && alike(at->second, next->second)) {
    at->second.end = next->second.end;
    held_.erase(next);
  }
  if (at == held_.begin()) return;
  auto previous = std::prev(at);
  if (previous->second.end + 1 != at->first || !alike(previous->second, at->second)) return;
  previous->second.end = at->second.end;
  held_.erase(at);
}

}  // namespace rdmafs
