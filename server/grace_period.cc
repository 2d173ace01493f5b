#include "server/grace_period.h"

#include <algorithm>

namespace rdmafs::server {

GracePeriod::GracePeriod(const std::vector<LockHolder>& holders, Remember remember)
    : remember_(std::move(remember)) {
  absl::MutexLock lock(&mutex_);
  for (const LockHolder& holder : holders) {
    rows_.push_back({.holder = holder, .outstanding = !holder.id.none()});
    outstanding_count_ += !holder.id.none();
  }
  active_ = outstanding_count_ != 0;
}

size_t GracePeriod::outstanding_count() const {
  absl::MutexLock lock(&mutex_);
  return outstanding_count_;
}

void GracePeriod::SessionBegins(uint64_t session, const SessionId& id, const SessionId& before) {
  absl::MutexLock lock(&mutex_);
  Known& known = sessions_[session];
  known.names = {id, before};
  if (before.none()) return;
  const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) {
    return r.outstanding && r.session == 0 && (r.holder.id == before || r.holder.before == before);
  });
  if (row == rows_.end()) return;
  row->session = session;
  row->holder = known.names;
  known.row = static_cast<size_t>(row - rows_.begin());
  Store(*known.row);
}

void GracePeriod::SessionEnds(uint64_t session) {
  absl::MutexLock lock(&mutex_);
  auto known = sessions_.find(session);
  if (known == sessions_.end()) return;
  const std::optional<size_t> row = known->second.row;
  sessions_.erase(known);
  if (!row) return;
  rows_[*row].session = 0;
  rows_[*row].holds = false;
  EmptyIfDone(*row);
}

void GracePeriod::SetHolds(uint64_t session, bool holds) {
  absl::MutexLock lock(&mutex_);
  auto known = sessions_.find(session);
  if (known == sessions_.end()) return;
  std::optional<size_t>& row = known->second.row;
  if (holds && !row) {
    row = FreeRow();
    rows_[*row] = {.holder = known->second.names, .session = session};
    Store(*row);
  }
  if (!row) return;
  const size_t index = *row;
  rows_[index].holds = holds;
  EmptyIfDone(index);
}

void GracePeriod::Reclaimed(uint64_t session) {
  {
    absl::MutexLock lock(&mutex_);
    auto known = sessions_.find(session);
    if (known == sessions_.end() || !known->second.row) return;
    const size_t index = *known->second.row;
    if (!rows_[index].outstanding) return;
    rows_[index].outstanding = false;
    EmptyIfDone(index);
    if (--outstanding_count_ != 0) return;
  }
  Finish();
}

void GracePeriod::End() {
  {
    absl::MutexLock lock(&mutex_);
    outstanding_count_ = 0;
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (std::exchange(rows_[i].outstanding, false)) EmptyIfDone(i);
    }
  }
  Finish();
}

size_t GracePeriod::FreeRow() {
  const auto row =
      std::find_if(rows_.begin(), rows_.end(), [](const Row& r) { return r.holder.id.none(); });
  if (row == rows_.end()) return rows_.emplace_back(), rows_.size() - 1;
  return static_cast<size_t>(row - rows_.begin());
}

void GracePeriod::EmptyIfDone(size_t row) {
  if (rows_[row].holds || rows_[row].outstanding) return;
  auto known = sessions_.find(rows_[row].session);
  if (known != sessions_.end()) known->second.row.reset();
  rows_[row] = Row();
  Store(row);
}

void GracePeriod::Freeze() {
  absl::MutexLock lock(&mutex_);
  frozen_ = true;
}

bool GracePeriod::Wait(Call& call, Call::Step next) {
  absl::MutexLock lock(&mutex_);
  if (!active()) return false;
  waiting_.emplace_back(&call, next);
  return true;
}

bool GracePeriod::StopWaiting(Call& call) {
  absl::MutexLock lock(&mutex_);
  return std::erase_if(waiting_, [&](const auto& waiting) { return waiting.first == &call; }) != 0;
}

void GracePeriod::Store(size_t row) {
  if (!frozen_ && remember_) remember_(row, rows_[row].holder);
}

void GracePeriod::Finish() {
  std::vector<std::pair<Call*, Call::Step>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    active_.store(false, std::memory_order_release);
    waiting.swap(waiting_);
  }
  for (auto& [call, next] : waiting) call->Resume(next);
}

}  // namespace rdmafs::server
