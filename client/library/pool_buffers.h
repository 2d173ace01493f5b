// PoolBuffers: the four states of the buffers that a program is lent.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "transport/base/errno.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::library {

// Knows every buffer that is not available: in transmission, being consumed, being returned. A name
// is never used twice, so that a buffer which is given back twice, or after its memory went to
// someone else, is found out. Thread-safe.
class PoolBuffers {
 public:
  using Id = uint64_t;  // 0: none
  struct Statistics {
    uint64_t in_transmission, being_consumed, being_returned, misused;
  };

  // available -> in transmission.
  Id Begin();
  // in transmission -> being consumed: the data are in `bytes`, kept by `hold`.
  void Deliver(Id id, absl::Span<std::byte> bytes, Buffer hold);
  // in transmission -> available: the read failed.
  void Fail(Id id);
  // being consumed -> being returned while it is in use, else available. EINVAL: it is not being
  // consumed.
  Errno Consume(Id id);

  // `length` bytes at `from`, for a write out of it, and what keeps them: until Unuse(). EINVAL: it
  // is not being consumed, or does not have them.
  struct Bytes {
    absl::Span<std::byte> bytes;
    Buffer hold;
  };
  Result<Bytes> Use(Id id, size_t from, size_t length);
  void Unuse(Id id);

  Statistics statistics() const;

 private:
  enum class State : uint8_t { kAvailable, kInTransmission, kBeingConsumed, kBeingReturned };
  struct Row {
    State state = State::kAvailable;
    uint32_t generation = 0;
    uint32_t use_count = 0;
    absl::Span<std::byte> bytes;
    Buffer hold;
  };
  // An id is the row's number, and behind it how often it was used.
  Row* Find(Id id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Buffer Free(Id id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Move(Row& row, State to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::vector<Row> rows_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> free_ ABSL_GUARDED_BY(mutex_);
  uint64_t counts_[4] ABSL_GUARDED_BY(mutex_) = {};
  uint64_t misused_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::library
