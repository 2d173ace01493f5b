// FdCache: the O_PATH descriptors of objects that were used lately, by key; bounded.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// An object of the exported file system, held open with O_PATH.
struct PosixObject {
  UniqueFd fd;
  uint64_t device = 0, inode = 0;
  uint32_t type = 0;   // S_IFMT
  uint64_t stamp = 0;  // tells objects apart that had the same inode number one after the other
};
using ObjectRef = std::shared_ptr<const PosixObject>;

// Thread-safe; its locks are leaves, and descriptors are closed outside of them (the last close of
// an unlinked file may take long). Least recently used entries go when a shard is full; what was
// not used for `idle` goes with the traffic, so that files removed behind the server's back give
// their space back.
class FdCache {
 public:
  struct Options {
    size_t capacity = 4096;  // at least kShards
    Nanoseconds idle = 0;    // 0: no limit
  };
  static constexpr size_t kShards = 16;

  FdCache(Options options, const Clock& clock);

  // nullptr when there is none.
  ObjectRef Find(std::string_view key);
  // What is there by now: `object`, or the one that another thread brought before.
  ObjectRef Insert(std::string_view key, ObjectRef object);
  void Erase(std::string_view key);
  // Not wanted any more by one who asked for it: the first to go, until it is found again.
  void Demote(std::string_view key);
  void EraseIfDemoted(std::string_view key);
  size_t size() const;

 private:
  struct Entry {
    std::string key;
    ObjectRef object;
    Nanoseconds used;
    bool demoted = false;
  };
  using List = std::list<Entry>;  // most recently used first
  struct alignas(64) Shard {
    mutable absl::Mutex mutex;
    List list ABSL_GUARDED_BY(mutex);
    absl::flat_hash_map<std::string_view, List::iterator> index
        ABSL_GUARDED_BY(mutex);  // keys are the list's
  };

  Shard& ShardOf(std::string_view key);
  void EraseIf(std::string_view key, bool only_demoted);
  // Moves what has to go to `gone`.
  void Trim(Shard& shard, Nanoseconds now, List& gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  const size_t shard_capacity_;
  const Nanoseconds idle_;
  const Clock& clock_;
  std::array<Shard, kShards> shards_;
};

}  // namespace rdmafs
