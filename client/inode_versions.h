// InodeVersions: what the shards of a mount must agree on before one of them serves cached file
// data.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/file_system.h"

namespace rdmafs {

// Counts the changes of a file's content, and the changes under way. Data that were read while
// version() was v, with no change under way, may be served as long as version() is still v: no
// operation of this mount that changes the content has begun since, and no attributes have shown
// that another did. Thread-safe, lock-free.
class ContentVersion {
 public:
  using Value = uint64_t;

  Value version() const { return word_.load(std::memory_order_acquire); }
  static bool ChangeUnderWay(Value version) { return (version & kUnderWayMask) != 0; }

  // Before an operation that changes the content is sent, and when it has been answered, however it
  // came out, before the asker hears of it.
  void BeginChange() { word_.fetch_add(kGeneration + 1, std::memory_order_acq_rel); }
  void EndChange() { word_.fetch_add(kGeneration - 1, std::memory_order_acq_rel); }
  // It was found to have changed.
  void Changed() { word_.fetch_add(kGeneration, std::memory_order_acq_rel); }

 private:
  // Below: changes under way, fewer than a million; above: the generation.
  static constexpr Value kGeneration = Value{1} << 20;
  static constexpr Value kUnderWayMask = kGeneration - 1;
  std::atomic<Value> word_{0};
};

// An object that some shard has open.
struct OpenInode {
  OpenInode(const FileHandle& name, ContentVersion& version) : handle(name), content(version) {}

  const FileHandle handle;
  // May be shared with other inodes: then there are more versions than changes.
  ContentVersion& content;
  // Bytes, as far as anyone here knows; a hint.
  std::atomic<uint64_t> size{0};
  // There are bytes up to `end`. Thread-safe.
  void RaiseSize(uint64_t end) {
    uint64_t known = size.load(std::memory_order_relaxed);
    while (known < end && !size.compare_exchange_weak(known, end, std::memory_order_relaxed)) {
    }
  }

  // It was seen to end at `end`. Thread-safe.
  void LowerSize(uint64_t end) {
    uint64_t known = size.load(std::memory_order_relaxed);
    while (known > end && !size.compare_exchange_weak(known, end, std::memory_order_relaxed)) {
    }
  }

  // What tells one content from another.
  struct Stamp {
    uint64_t size = 0;
    int64_t mtime_s = 0, ctime_s = 0;
    uint32_t mtime_ns = 0, ctime_ns = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  // InodeVersions' own, under its mutex.
  Stamp stamp;
  uint32_t open_count = 0;
};

// Shared by the shards of a mount, and outlives their layers. Thread-safe.
class InodeVersions {
 public:
  static constexpr size_t kMaxShards = 64;
  // Called on the thread that releases an open file which the shard has asked about with Find(). It
  // must do no more than post to the shard's loop.
  using OnRelease = std::function<void(OpenId)>;

  struct OpenFile {
    std::shared_ptr<OpenInode> inode;
    bool bypass = false;  // opened with O_DIRECT: never served from a cache
  };

  // At most kMaxShards at a time. RemoveShard() returns when `on_release` is not and will not be
  // called.
  size_t AddShard(OnRelease on_release);
  void RemoveShard(size_t shard);

  // The counter of `handle`'s content, open or not. Lives as long as this object.
  ContentVersion& content(const FileHandle& handle) { return contents_[IndexOf(handle)]; }

  // `open_id` is about to name `handle`. flags: O_*.
  void AddOpen(OpenId open_id, const FileHandle& handle, uint32_t flags);
  // It names it no more; the other shards that know it hear of it. Unknown ids are ignored.
  void RemoveOpen(OpenId open_id);
  // An OpenFile without inode for an id that is not known. `shard` hears of its release.
  OpenFile Find(OpenId open_id, size_t shard);
  // The same for who need not hear of it.
  OpenFile Find(OpenId open_id);

  // A reply showed `attributes`: the content has changed if size, mtime or ctime are not those last
  // shown.
  void OnAttributes(const FileHandle& handle, const Attributes& attributes);
  // Whether anything is open at all. Lock-free.
  bool any_open() const { return open_count_.load(std::memory_order_relaxed) != 0; }

 private:
  static constexpr size_t kContentCount = 8192;

  struct Hash {
    size_t operator()(const FileHandle& handle) const {
      return std::hash<std::string_view>()(handle.view());
    }
  };
  struct Row {
    std::shared_ptr<OpenInode> inode;
    bool bypass = false;
    uint64_t shards = 0;  // that know it, a bit each
  };

  static size_t IndexOf(const FileHandle& handle) { return Hash()(handle) % kContentCount; }

  std::array<ContentVersion, kContentCount> contents_;
  // Open files by the same index, so that attributes of what is not open cost no lock.
  std::array<std::atomic<uint32_t>, kContentCount> open_at_{};
  std::atomic<uint64_t> open_count_{0};

  mutable absl::Mutex mutex_;
  std::unordered_map<FileHandle, std::shared_ptr<OpenInode>, Hash> inodes_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<OpenId, Row> open_files_ ABSL_GUARDED_BY(mutex_);

  // Never taken together with mutex_. Shared while an OnRelease runs, so that RemoveShard() waits
  // for it.
  absl::Mutex shards_mutex_;
  std::array<OnRelease, kMaxShards> shards_ ABSL_GUARDED_BY(shards_mutex_);
};

}  // namespace rdmafs
