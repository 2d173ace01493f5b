#include "client/open_table.h"

#include <fcntl.h>

#include <utility>

namespace rdmafs {
namespace {

// Takes `range` away from the locks of its owner; what sticks out on either side stays.
void Cut(std::vector<OpenTable::Lock>& locks, const LockRange& range, uint32_t kind) {
  std::vector<OpenTable::Lock> kept;
  for (OpenTable::Lock& lock : locks) {
    const bool other = lock.range.owner != range.owner || (lock.flags & wire::kLockFlock) != kind;
    if (other || lock.range.end < range.start || lock.range.start > range.end) {
      kept.push_back(lock);
      continue;
    }
    if (lock.range.start < range.start) {
      kept.push_back(lock);
      kept.back().range.end = range.start - 1;
    }
    if (lock.range.end > range.end) {
      kept.push_back(lock);
      kept.back().range.start = range.end + 1;
    }
  }
  locks.swap(kept);
}

}  // namespace

void OpenTable::Add(Row row) {
  row.flags &= ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_TRUNC);
  if ((row.flags & O_APPEND) != 0) append_count_.fetch_add(1, std::memory_order_relaxed);
  absl::MutexLock lock(&mutex_);
  const OpenId id = row.open_id;
  if ((row.flags & O_ACCMODE) != O_RDONLY && (row.flags & (O_SYNC | O_DSYNC)) == 0) {
    std::weak_ptr<WriteState>& known = states_[std::string(row.handle.view())];
    row.state = known.lock();
    if (row.state == nullptr) known = row.state = std::make_shared<WriteState>();
    row.losses_seen = row.state->losses.load(std::memory_order_relaxed);
  }
  rows_[id] = std::move(row);
}

void OpenTable::Remove(OpenId id) {
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  if (found != rows_.end()) {
    if ((found->second.flags & O_APPEND) != 0)
      append_count_.fetch_sub(1, std::memory_order_relaxed);
    if (found->second.state != nullptr) {
      found->second.state.reset();
      auto state = states_.find(std::string(found->second.handle.view()));
      if (state != states_.end() && state->second.expired()) states_.erase(state);
    }
    rows_.erase(found);
  }
  if (stale_.erase(id) != 0) stale_count_.fetch_sub(1, std::memory_order_relaxed);
}

void OpenTable::RecordLock(OpenId id, const LockRange& range, uint32_t flags) {
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  if (found == rows_.end()) return;
  Cut(found->second.locks, range, flags & wire::kLockFlock);
  if (range.type != wire::LockType::kUnlock) found->second.locks.push_back({range, flags});
}

void OpenTable::ForgetOwner(OpenId id, uint64_t owner) {
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  if (found == rows_.end()) return;
  // fcntl locks belong to (file, owner), whichever descriptor they were taken through.
  for (auto& [other, row] : rows_) {
    if (!(row.handle == found->second.handle)) continue;
    std::erase_if(row.locks, [owner](const Lock& held) {
      return held.range.owner == owner && (held.flags & wire::kLockFlock) == 0;
    });
  }
}

std::vector<OpenTable::Row> OpenTable::Rows() const {
  absl::MutexLock lock(&mutex_);
  std::vector<Row> rows;
  rows.reserve(rows_.size());
  for (const auto& [id, row] : rows_) rows.push_back(row);
  return rows;
}

bool OpenTable::IsAppend(OpenId id) const {
  if (append_count_.load(std::memory_order_relaxed) == 0) return false;
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  return found != rows_.end() && (found->second.flags & O_APPEND) != 0;
}

std::shared_ptr<WriteState> OpenTable::StateOf(OpenId id) const {
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  return found == rows_.end() ? nullptr : found->second.state;
}

size_t OpenTable::MarkLosses() {
  size_t count = 0;
  absl::MutexLock lock(&mutex_);
  for (auto& [handle, known] : states_) {
    const std::shared_ptr<WriteState> state = known.lock();
    if (state == nullptr) continue;
    const uint64_t written = state->written.load(std::memory_order_relaxed);
    if (written == state->synced.load(std::memory_order_relaxed)) continue;
    state->NoteSynced(written);
    state->losses.fetch_add(1, std::memory_order_relaxed);
    ++count;
  }
  if (count != 0) loss_count_.fetch_add(1, std::memory_order_relaxed);
  return count;
}

bool OpenTable::HasLoss(OpenId id) const {
  if (loss_count_.load(std::memory_order_relaxed) == 0) return false;
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  return found != rows_.end() && found->second.state != nullptr &&
         found->second.state->losses.load(std::memory_order_relaxed) != found->second.losses_seen;
}

bool OpenTable::TakeLoss(OpenId id) {
  if (loss_count_.load(std::memory_order_relaxed) == 0) return false;
  absl::MutexLock lock(&mutex_);
  auto found = rows_.find(id);
  if (found == rows_.end() || found->second.state == nullptr) return false;
  const uint32_t losses = found->second.state->losses.load(std::memory_order_relaxed);
  return std::exchange(found->second.losses_seen, losses) != losses;
}

void OpenTable::MarkStale(OpenId id) {
  absl::MutexLock lock(&mutex_);
  if (stale_.insert(id).second) stale_count_.fetch_add(1, std::memory_order_relaxed);
}

bool OpenTable::IsStale(OpenId id) const {
  if (stale_count_.load(std::memory_order_relaxed) == 0) return false;
  absl::MutexLock lock(&mutex_);
  return stale_.count(id) != 0;
}

}  // namespace rdmafs
