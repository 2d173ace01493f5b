#include "fuse/node_table.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "transport/base/check.h"

namespace rdmafs::fuse {

NodeTable::NodeTable(const wire::FileHandle& root, uint64_t max_count) : slots_(max_count) {
  std::optional<Lookup> node = Remember(root);
  CHECK(node && node->node->id == kRootId);
}

NodeTable::Bucket& NodeTable::BucketOf(std::string_view handle) {
  return buckets_[absl::Hash<std::string_view>()(handle) % kBucketCount];
}

std::optional<NodeTable::Lookup> NodeTable::Remember(const wire::FileHandle& handle) {
  Bucket& bucket = BucketOf(handle.view());
  absl::MutexLock lock(&bucket.mutex);
  auto found = bucket.nodes.find(handle.view());
  if (found != bucket.nodes.end()) {
    Node* node = found->second;
    ++node->lookups_;
    return Lookup{node, node->generation_};
  }
  uint64_t index;
  Node* const node = slots_.Take(index);
  if (node == nullptr) return std::nullopt;
  node->id = index + 1;
  node->handle = handle;
  node->lookups_ = 1;
  node->has_locks.store(false, std::memory_order_relaxed);
  node->may_have_pages.store(false, std::memory_order_relaxed);
  node->writer_count.store(0, std::memory_order_relaxed);
  node->told_replaced.store(false, std::memory_order_relaxed);
  ++node->generation_;  // the same id never comes back with the same generation
  {
    absl::MutexLock cache_lock(&node->mutex);
    node->cache = PageCachePolicy();
    node->open_count = 0;
    node->plain_until = node->plain_to_root_until = node->xattrs_changed = 0;
  }
  bucket.nodes.emplace(node->handle.view(), node);
  node->live.store(true, std::memory_order_release);
  return Lookup{node, node->generation_};
}

std::optional<wire::FileHandle> NodeTable::Forget(uint64_t id, uint64_t count) {
  Node* node = Find(id);
  if (node == nullptr || id == kRootId) return std::nullopt;
  // The kernel holds the lookups that it gives back here, so the handle stands until we take the
  // lock.
  const wire::FileHandle handle = node->handle;
  Bucket& bucket = BucketOf(handle.view());
  absl::MutexLock lock(&bucket.mutex);
  node->lookups_ -= std::min(count, node->lookups_);
  if (node->lookups_ != 0) return std::nullopt;
  node->live.store(false, std::memory_order_release);
  bucket.nodes.erase(handle.view());
  slots_.GiveBack(id - 1);
  return handle;
}

void NodeTable::SeeRoot(const wire::Attributes& attributes) {
  absl::MutexLock lock(&root_mutex_);
  root_seen_.attributes = attributes;
}

void NodeTable::SeeRoot(const wire::FileSystemStatistics& statistics) {
  absl::MutexLock lock(&root_mutex_);
  root_seen_.statistics = statistics;
}

NodeTable::Root NodeTable::root_seen() const {
  absl::MutexLock lock(&root_mutex_);
  return root_seen_;
}

}  // namespace rdmafs::fuse
