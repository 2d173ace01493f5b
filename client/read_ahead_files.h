// ReadAheadFiles: what the shards of a mount have fetched ahead, for all of them.
#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/inode_versions.h"
#include "client/read_ahead_file.h"
#include "client/read_ahead_memory.h"
#include "client/reply_chain.h"

namespace rdmafs {

// The kernel hands one reader's requests to whichever shard is awake, so what is known of a reader
// and what was fetched for it cannot be a shard's own: the layers of all shards work on this, each
// under `mutex`, for as long as it takes to look and to take down. Nothing is sent, copied or
// answered meanwhile. Lock order: `mutex`, then InodeVersions', then a pool's.
//
// Outlives the layers; outlived by `versions` and by the pools that the layers fetch into.
class ReadAheadFiles {
 public:
  struct Options {
    ReadAheadPolicy::Options policy;
    uint64_t max_memory_bytes = uint64_t{32} << 20;  // of pool blocks, all files together
  };

  ReadAheadFiles(InodeVersions& all_versions, const Options& given)
      : versions(all_versions), options(given), memory(given.max_memory_bytes) {}
  ~ReadAheadFiles();

  // nullptr: it is not being followed (Known), it is not open (Of).
  ReadAheadFile* Known(OpenId open_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  ReadAheadFile* Of(OpenId open_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

  // Of pool blocks, now. Any thread, without a lock.
  uint64_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }
  // After every use of `memory`.
  void ShowMemory() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    memory_bytes_.store(memory.used_bytes(), std::memory_order_relaxed);
  }

  InodeVersions& versions;
  const Options options;

  absl::Mutex mutex;
  ReadAheadMemory memory ABSL_GUARDED_BY(mutex);
  ReadAheadMemory::Cursor small_cursor ABSL_GUARDED_BY(mutex);  // small windows share blocks
  std::unordered_map<OpenId, std::unique_ptr<ReadAheadFile>> files ABSL_GUARDED_BY(mutex);
  FreeList<FetchedChunk> chunks ABSL_GUARDED_BY(mutex);
  FreeList<WaitingRead> waiting ABSL_GUARDED_BY(mutex);
  Nanoseconds next_idle_check ABSL_GUARDED_BY(mutex) = 0;
  // The way to the server is being taken down: nothing is sent any more.
  bool closed ABSL_GUARDED_BY(mutex) = false;

 private:
  std::atomic<uint64_t> memory_bytes_{0};
};

}  // namespace rdmafs
