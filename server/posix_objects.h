// PosixObjects: from file handles to descriptors and back, for one export.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/fd_cache.h"
#include "server/handle_codec.h"
#include "server/posix_calls.h"
#include "server/posix_mounts.h"
#include "server/posix_store.h"
#include "server/store.h"

namespace rdmafs {

// Thread-safe. Either names objects by name_to_handle_at(2) and keeps the descriptors used lately,
// or (table) keeps a descriptor for every object that has been looked up, until it is forgotten or
// the table is full; then its handle is stale.
class PosixObjects {
 public:
  // Blocks. `options` is copied; the clock stays.
  static absl::StatusOr<std::unique_ptr<PosixObjects>> Open(const PosixStoreOptions& options);

  // EBADF for what this export did not sign, ESTALE for what is gone.
  Result<ObjectRef> Resolve(const wire::FileHandle& handle);
  // The entry of an object that was found (O_PATH) or made; keeps the descriptor for the next call.
  // EXDEV for an object of a mount that is not served.
  Result<StoreEntry> Admit(UniqueFd fd);
  // The same for an object that stays open elsewhere, and for passing by in a directory: keeps
  // nothing, but in a table. `fd` stays the caller's.
  Result<StoreEntry> Describe(int fd);
  // Of the object behind any descriptor, which `status` is.
  wire::Attributes AttributesOf(int fd, const struct statx& status);
  // Handles of the file system need nothing: the cache is bounded by itself. In a table the object
  // is the first to make room, or goes at once when it has no name any more.
  void Forget(const wire::FileHandle& handle);
  // What has the name in an open directory, as Store::Identify() says it; on the assumption that it
  // is of the export's own file system.
  Result<wire::FileHandle> Identify(int parent, const char* name) const;
  // Before `name` goes: what it names should no longer be kept open, or its space would stay in
  // use. A hint that is void when something else has the name by then.
  class Departure {
   public:
    Departure(PosixObjects& objects, int parent, const char* name);
    // The name went.
    void Done();

   private:
    PosixObjects& objects_;
    std::string key_;
  };

  // Under the name of a mount point that is not crossed there is the directory that it covers:
  // reached through a copy of the parent's mount that has no mounts on it. EXDEV where that is not
  // to be had.
  Result<StoreEntry> AdmitCovered(int parent, const char* name);

  const PosixObject& root() const { return *root_; }
  const wire::FileHandle& root_handle() const { return root_handle_; }
  uint64_t root_device() const { return root_->device; }
  bool table() const { return table_; }
  bool IsRoot(uint64_t device, uint64_t inode) const {
    return device == root_->device && inode == root_->inode;
  }
  // The really open directory of the file system that `object` is on; never -1.
  Result<const PosixMount*> MountOf(const PosixObject& object);
  size_t open_objects() const { return cache_->size(); }

 private:
  explicit PosixObjects(const PosixStoreOptions& options);
  bool CanNameByHandle() const;
  Result<ObjectRef> ResolveFile(const HandleParts& parts, std::string_view key);
  Result<ObjectRef> ResolveTable(const HandleParts& parts);
  Result<wire::FileHandle> HandleOf(int fd, const struct statx& status,
                                    const PosixMount& mount) const;
  Result<StoreEntry> DescribeStat(int fd, const struct statx& status, const PosixMount& mount);
  wire::Attributes AttributesOf(int fd, const struct statx& status, const PosixMount& mount) const;
  Result<StoreEntry> AdmitToTable(UniqueFd fd, const struct statx& status, const PosixMount& mount);

  const HandleCodec codec_;
  std::unique_ptr<PosixMounts> mounts_;
  bool table_ = false;
  ObjectRef root_;
  wire::FileHandle root_handle_;
  std::unique_ptr<FdCache> cache_;
  std::atomic<uint64_t> next_stamp_;
};

}  // namespace rdmafs
