// NodeTable: from the kernel's node ids to the server's handles and back.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "fuse/page_cache_policy.h"
#include "fuse/slot_table.h"
#include "transport/base/clock.h"
#include "transport/wire/header.h"
#include "transport/wire/types.h"

namespace rdmafs::fuse {

// An object that the kernel knows. `handle` and `id` stand as long as the kernel holds a lookup.
struct Node {
  uint64_t id = 0;
  wire::FileHandle handle;
  std::atomic<bool> live{false};
  // Whether an fcntl lock was ever asked for: then a close(2) has to give the owner's up.
  std::atomic<bool> has_locks{false};
  // Whether the kernel may have pages of it: something was read or written through its page cache.
  std::atomic<bool> may_have_pages{false};
  // How often the kernel has it open for writing.
  std::atomic<uint32_t> writer_count{0};
  // Whether an open was answered ESTALE because the file has no name any more.
  std::atomic<bool> told_replaced{false};
  // The mode that the kernel may show from its cache; 0: none.
  std::atomic<uint32_t> mode_told{0};

  absl::Mutex mutex;
  // What the kernel has open of it, from the request on; and how often that began, or a change of
  // its size without it began or ended.
  uint32_t open_count ABSL_GUARDED_BY(mutex) = 0;
  uint64_t use_count ABSL_GUARDED_BY(mutex) = 0;
  PageCachePolicy cache ABSL_GUARDED_BY(mutex);
  // Until when it is known to have no extended attributes (wire::kPlain, kPlainToRoot), by what was
  // asked after the last change of them.
  Nanoseconds plain_until ABSL_GUARDED_BY(mutex) = 0;
  Nanoseconds plain_to_root_until ABSL_GUARDED_BY(mutex) = 0;
  Nanoseconds xattrs_changed ABSL_GUARDED_BY(mutex) = 0;

 private:
  friend class NodeTable;
  uint64_t generation_ = 0;
  uint64_t lookups_ = 0;  // guarded by its handle's bucket
};

// Thread-safe. Find() takes no lock. The same handle is the same node as long as the kernel
// remembers it.
class NodeTable {
 public:
  static constexpr uint64_t kRootId = 1;

  // `root` is node 1, and is never forgotten.
  explicit NodeTable(const wire::FileHandle& root, uint64_t max_count = kDefaultMaxCount);

  struct Lookup {
    Node* node;
    uint64_t generation;
  };
  // The handle's node, its lookups one more; nullopt when the table is full.
  std::optional<Lookup> Remember(const wire::FileHandle& handle);
  // The kernel gave `count` lookups back. The handle, if those were the last.
  std::optional<wire::FileHandle> Forget(uint64_t id, uint64_t count);
  // nullptr for an id that the kernel has no lookup of.
  Node* Find(uint64_t id) const {
    Node* node = id == 0 ? nullptr : slots_.Find(id - 1);
    return node != nullptr && node->live.load(std::memory_order_acquire) ? node : nullptr;
  }
  // The root, and the file system that it is in, as they were last seen: for when there is no
  // server to ask. Until the latter was, it has no space.
  struct Root {
    wire::Attributes attributes{};
    wire::FileSystemStatistics statistics{
        .block_size = 4096, .fragment_size = 4096, .name_max = wire::kMaxNameBytes};
  };
  void SeeRoot(const wire::Attributes& attributes);
  void SeeRoot(const wire::FileSystemStatistics& statistics);
  Root root_seen() const;
  // Root included.
  uint64_t count() const { return slots_.used_count(); }

 private:
  static constexpr uint64_t kDefaultMaxCount = uint64_t{1} << 24;
  static constexpr size_t kBucketCount = 16;
  struct Bucket {
    absl::Mutex mutex;
    // The keys are views of the nodes' handles.
    absl::flat_hash_map<std::string_view, Node*> nodes ABSL_GUARDED_BY(mutex);
  };
  Bucket& BucketOf(std::string_view handle);

  SlotTable<Node> slots_;
  std::array<Bucket, kBucketCount> buckets_;
  mutable absl::Mutex root_mutex_;
  Root root_seen_ ABSL_GUARDED_BY(root_mutex_);
};

}  // namespace rdmafs::fuse
