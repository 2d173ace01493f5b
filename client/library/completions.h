// Completions: results on their way to rdmafs_process(), and the descriptor that tells of them.
#pragma once

#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/include/rdmafs/rdmafs.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::library {

// Thread-safe. Calls are taken in the order in which they were added.
class Completions {
 public:
  Completions();

  // Readable while there is something to take.
  int event_fd() const { return event_.get(); }
  // `call` is ours until its `done` is called. With it an operation has ended that was under way:
  // no one sees it counted neither here nor there.
  void Add(rdmafs_call* call, int64_t result) { Add(call, result, nullptr); }
  void Add(rdmafs_call* call, int64_t result, std::atomic<uint64_t>* under_way);
  // Calls `done` of at most `max`; returns how many.
  int Process(int max);
  uint64_t count() const;
  uint64_t CountWith(const std::atomic<uint64_t>& under_way) const;

 private:
  rdmafs_call* Take();

  const UniqueFd event_;
  mutable absl::Mutex mutex_;
  rdmafs_call* first_ ABSL_GUARDED_BY(mutex_) = nullptr;
  rdmafs_call* last_ ABSL_GUARDED_BY(mutex_) = nullptr;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::library
