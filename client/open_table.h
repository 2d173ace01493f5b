// OpenTable: what a mount has open, so that it can be opened again at a server that has forgotten
// it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/file_system.h"

namespace rdmafs {

// Whether all that was written to a file is known to be on the server's disk. Lock-free; shared by
// all that have the file open.
struct WriteState {
  std::atomic<uint64_t> written{0};  // writes that the server has acknowledged
  std::atomic<uint64_t> synced{0};   // how many of them an fsync(2) has covered
  // Restarts of the server's host that came before the others were.
  std::atomic<uint32_t> losses{0};

  void NoteSynced(uint64_t count) {
    uint64_t before = synced.load(std::memory_order_relaxed);
    while (before < count && !synced.compare_exchange_weak(before, count)) {
    }
  }
};

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
    std::shared_ptr<WriteState> state = nullptr;  // set by Add(); none for O_SYNC
    uint32_t losses_seen = 0;
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
  // nullptr: it is not open, or every write to it is durable anyway.
  std::shared_ptr<WriteState> StateOf(OpenId id) const;
  // The server's host has restarted: what was written and not synced may be gone. How many files
  // that concerns.
  size_t MarkLosses();
  // Whether TakeLoss() would be true. Costs an atomic load while nothing was ever lost.
  bool HasLoss(OpenId id) const;
  // True once for each open file and loss, for whoever is to be told.
  bool TakeLoss(OpenId id);
  // It could not be opened again: every later use of it is ESTALE.
  void MarkStale(OpenId id);
  bool IsStale(OpenId id) const;

 private:
  std::atomic<OpenId> next_id_{1};
  std::atomic<uint32_t> append_count_{0};
  std::atomic<uint32_t> stale_count_{0};
  std::atomic<uint32_t> loss_count_{0};
  mutable absl::Mutex mutex_;
  std::unordered_map<OpenId, Row> rows_ ABSL_GUARDED_BY(mutex_);
  std::unordered_set<OpenId> stale_ ABSL_GUARDED_BY(mutex_);
  // By handle.
  std::unordered_map<std::string, std::weak_ptr<WriteState>> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
