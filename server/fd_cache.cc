#include "server/fd_cache.h"

#include <algorithm>

#include "absl/hash/hash.h"

namespace rdmafs {
namespace {

// Idle entries that one call takes out at most.
constexpr int kMaxIdleTrimmed = 8;

}  // namespace

FdCache::FdCache(Options options, const Clock& clock)
    : shard_capacity_(std::max<size_t>(1, options.capacity / kShards)),
      idle_(options.idle),
      clock_(clock) {}

FdCache::Shard& FdCache::ShardOf(std::string_view key) {
  // Other bits than flat_hash_map's groups are chosen by.
  return shards_[(absl::Hash<std::string_view>{}(key) >> 40) % kShards];
}

ObjectRef FdCache::Find(std::string_view key) {
  const Nanoseconds now = clock_.Now();
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  auto found = shard.index.find(key);
  if (found == shard.index.end()) return nullptr;
  found->second->used = now;
  found->second->demoted = false;
  shard.list.splice(shard.list.begin(), shard.list, found->second);
  return found->second->object;
}

ObjectRef FdCache::Insert(std::string_view key, ObjectRef object) {
  const Nanoseconds now = clock_.Now();
  Shard& shard = ShardOf(key);
  List gone;  // destroyed after the lock is released
  absl::MutexLock lock(&shard.mutex);
  auto found = shard.index.find(key);
  if (found != shard.index.end()) {
    shard.list.splice(shard.list.begin(), shard.list, found->second);
    found->second->used = now;
    found->second->demoted = false;
    return found->second->object;
  }
  shard.list.push_front(Entry{std::string(key), object, now, false});
  shard.index.emplace(shard.list.front().key, shard.list.begin());
  Trim(shard, now, gone);
  return object;
}

void FdCache::Trim(Shard& shard, Nanoseconds now, List& gone) {
  for (int trimmed = 0; !shard.list.empty() && trimmed < kMaxIdleTrimmed; ++trimmed) {
    const bool idle = idle_ != 0 && now - shard.list.back().used > idle_;
    if (!idle && shard.list.size() <= shard_capacity_) break;
    shard.index.erase(shard.list.back().key);
    gone.splice(gone.begin(), shard.list, std::prev(shard.list.end()));
  }
}

void FdCache::Erase(std::string_view key) { EraseIf(key, false); }

void FdCache::EraseIfDemoted(std::string_view key) { EraseIf(key, true); }

void FdCache::Demote(std::string_view key) {
  Shard& shard = ShardOf(key);
  absl::MutexLock lock(&shard.mutex);
  auto found = shard.index.find(key);
  if (found == shard.index.end()) return;
  found->second->demoted = true;
  shard.list.splice(shard.list.end(), shard.list, found->second);
}

void FdCache::EraseIf(std::string_view key, bool only_demoted) {
  Shard& shard = ShardOf(key);
  List gone;
  absl::MutexLock lock(&shard.mutex);
  auto found = shard.index.find(key);
  if (found == shard.index.end() || (only_demoted && !found->second->demoted)) return;
  List::iterator entry = found->second;
  shard.index.erase(found);
  gone.splice(gone.begin(), shard.list, entry);
}

size_t FdCache::size() const {
  size_t size = 0;
  for (const Shard& shard : shards_) {
    absl::MutexLock lock(&shard.mutex);
    size += shard.list.size();
  }
  return size;
}

}  // namespace rdmafs
