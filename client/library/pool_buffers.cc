#include "client/library/pool_buffers.h"

#include <errno.h>

#include <utility>

#include "transport/base/check.h"

namespace rdmafs::library {

PoolBuffers::Row* PoolBuffers::Find(Id id) {
  const uint32_t index = static_cast<uint32_t>(id);
  if (id == 0 || index >= rows_.size() || rows_[index].generation != id >> 32) return nullptr;
  return rows_[index].state == State::kAvailable ? nullptr : &rows_[index];
}

void PoolBuffers::Move(Row& row, State to) {
  --counts_[static_cast<size_t>(row.state)];
  ++counts_[static_cast<size_t>(to)];
  row.state = to;
}

PoolBuffers::Id PoolBuffers::Begin() {
  absl::MutexLock lock(&mutex_);
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(rows_.size()));
    rows_.emplace_back();
    ++counts_[static_cast<size_t>(State::kAvailable)];
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Row& row = rows_[index];
  if (++row.generation == 0) ++row.generation;  // an id is never 0
  Move(row, State::kInTransmission);
  return uint64_t{row.generation} << 32 | index;
}

void PoolBuffers::Deliver(Id id, absl::Span<std::byte> bytes, Buffer hold) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(id);
  CHECK(row != nullptr && row->state == State::kInTransmission);
  row->bytes = bytes;
  row->hold = std::move(hold);
  Move(*row, State::kBeingConsumed);
}

Buffer PoolBuffers::Free(Id id) {
  Row& row = *Find(id);
  Move(row, State::kAvailable);
  row.bytes = {};
  free_.push_back(static_cast<uint32_t>(id));
  return std::move(row.hold);
}

void PoolBuffers::Fail(Id id) {
  Buffer dropped;  // after the lock
  absl::MutexLock lock(&mutex_);
  dropped = Free(id);
}

Errno PoolBuffers::Consume(Id id) {
  Buffer dropped;
  absl::MutexLock lock(&mutex_);
  Row* row = Find(id);
  if (row == nullptr || row->state != State::kBeingConsumed) {
    ++misused_;
    return Errno(EINVAL);
  }
  if (row->use_count == 0) {
    dropped = Free(id);
  } else {
    Move(*row, State::kBeingReturned);
  }
  return kOk;
}

Result<PoolBuffers::Bytes> PoolBuffers::Use(Id id, size_t from, size_t length) {
  absl::MutexLock lock(&mutex_);
  Row* row = Find(id);
  if (row == nullptr || row->state != State::kBeingConsumed || from > row->bytes.size() ||
      length > row->bytes.size() - from) {
    ++misused_;
    return Errno(EINVAL);
  }
  ++row->use_count;
  return Bytes{row->bytes.subspan(from, length), row->hold};
}

void PoolBuffers::Unuse(Id id) {
  Buffer dropped;
  absl::MutexLock lock(&mutex_);
  Row* row = Find(id);
  CHECK(row != nullptr && row->use_count > 0);
  if (--row->use_count == 0 && row->state == State::kBeingReturned) dropped = Free(id);
}

PoolBuffers::Statistics PoolBuffers::statistics() const {
  absl::MutexLock lock(&mutex_);
  return {counts_[static_cast<size_t>(State::kInTransmission)],
          counts_[static_cast<size_t>(State::kBeingConsumed)],
          counts_[static_cast<size_t>(State::kBeingReturned)], misused_};
}

}  // namespace rdmafs::library
