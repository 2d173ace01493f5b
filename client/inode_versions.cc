#include "client/inode_versions.h"

#include <fcntl.h>

#include <utility>

#include "transport/base/check.h"

namespace rdmafs {

size_t InodeVersions::AddShard(OnRelease on_release) {
  absl::MutexLock lock(&shards_mutex_);
  size_t shard = 0;
  while (shard < kMaxShards && shards_[shard]) ++shard;
  CHECK(shard < kMaxShards);
  shards_[shard] = std::move(on_release);
  return shard;
}

void InodeVersions::RemoveShard(size_t shard) {
  absl::MutexLock lock(&shards_mutex_);
  shards_[shard] = nullptr;
}

void InodeVersions::AddOpen(OpenId open_id, const FileHandle& handle, uint32_t flags) {
  const size_t index = IndexOf(handle);
  open_at_[index].fetch_add(1, std::memory_order_acq_rel);
  open_count_.fetch_add(1, std::memory_order_relaxed);
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<OpenInode>& inode = inodes_[handle];
  if (inode == nullptr) inode = std::make_shared<OpenInode>(handle, contents_[index]);
  ++inode->open_count;
  const bool added = open_files_.emplace(open_id, Row{inode, (flags & O_DIRECT) != 0, 0}).second;
  CHECK(added);  // ids are never used again
}

void InodeVersions::RemoveOpen(OpenId open_id) {
  Row row;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = open_files_.find(open_id);
    if (found == open_files_.end()) return;
    row = std::move(found->second);
    open_files_.erase(found);
    if (--row.inode->open_count == 0) inodes_.erase(row.inode->handle);
  }
  open_at_[IndexOf(row.inode->handle)].fetch_sub(1, std::memory_order_acq_rel);
  open_count_.fetch_sub(1, std::memory_order_relaxed);
  if (row.shards == 0) return;
  absl::ReaderMutexLock lock(&shards_mutex_);
  for (size_t shard = 0; shard < kMaxShards; ++shard) {
    if ((row.shards >> shard & 1) != 0 && shards_[shard]) shards_[shard](open_id);
  }
}

InodeVersions::OpenFile InodeVersions::Find(OpenId open_id) {
  absl::MutexLock lock(&mutex_);
  const auto found = open_files_.find(open_id);
  if (found == open_files_.end()) return {};
  return {found->second.inode, found->second.bypass};
}

InodeVersions::OpenFile InodeVersions::Find(OpenId open_id, size_t shard) {
  absl::MutexLock lock(&mutex_);
  const auto found = open_files_.find(open_id);
  if (found == open_files_.end()) return {};
  found->second.shards |= uint64_t{1} << shard;
  return {found->second.inode, found->second.bypass};
}

void InodeVersions::OnAttributes(const FileHandle& handle, const Attributes& attributes) {
  if (open_at_[IndexOf(handle)].load(std::memory_order_acquire) == 0) return;
  const OpenInode::Stamp stamp{attributes.size, attributes.mtime_s, attributes.ctime_s,
                               attributes.mtime_ns, attributes.ctime_ns};
  absl::MutexLock lock(&mutex_);
  const auto found = inodes_.find(handle);
  if (found == inodes_.end() || found->second->stamp == stamp) return;
  OpenInode& inode = *found->second;
  inode.stamp = stamp;
  inode.size.store(attributes.size, std::memory_order_relaxed);
  inode.content.Changed();
}

}  // namespace rdmafs
