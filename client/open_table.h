// OpenTable: what a mount has open, so that it can be opened again at a server that has forgotten it.
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/file_system.h"

namespace rdmafs {

// Thread-safe. Touched by open, release and locks; not by reads and writes.
class OpenTable {
 public:
  struct Lock {
    LockRange range{};
    uint32_t flags = 0;  // wire::LockFlags
  };
  struct Row {
    OpenId open_id = 0;
    FileHandle handle;
    uint32_t flags = 0;  // O_*, without O_CREAT, O_EXCL and O_TRUNC
    uint32_t uid = 0, gid = 0;
    std::vector<Lock> locks;
  };

  OpenId NewId() { return next_id_.fetch_add(1, std::memory_order_relaxed); }
  void Add(Row row);
  void Remove(OpenId id);
  // A lock was granted or given up (range.type kUnlock).
  void RecordLock(OpenId id, const LockRange& range, uint32_t flags);
  void ForgetOwner(OpenId id, uint64_t owner);
  std::vector<Row> Rows() const;

  // Whether a repeated write would be an appended second time. Exact; costs an atomic load while no
  // file is open with O_APPEND.
  bool IsAppend(OpenId id) const;
  // It could not be opened again: every later use of it is ESTALE.
  void MarkStale(OpenId id);
  bool IsStale(OpenId id) const;

 private:
  std::atomic<OpenId> next_id_{1};
  std::atomic<uint32_t> append_count_{0};
  std::atomic<uint32_t> stale_count_{0};
  mutable absl::Mutex mutex_;
  std::unordered_map<OpenId, Row> rows_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<OpenId> stale_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
