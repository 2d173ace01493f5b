// The posix store: a Store over one exported directory of the server's own file systems.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/fd_cache.h"
#include "server/handle_key.h"
#include "server/store.h"
#include "server/thread_credentials.h"
#include "transport/base/clock.h"

namespace rdmafs {

struct PosixStoreOptions {
  std::string path;           // the exported directory
  uint32_t export_id = 0;     // part of every handle: those of another export are foreign
  HandleKey key{};            // handles live as long as it does
  bool cross_mounts = false;  // whether file systems mounted below `path` are served, too
  enum class Handles {
    kAuto,   // the file system's own handles where it has them and the server may open them
    kTable,  // never these
  } handles = Handles::kAuto;
  FdCache::Options fd_cache{4096, 10 * kSecond};
  // Objects that can be known at a time without handles; a descriptor each (RLIMIT_NOFILE).
  size_t table_capacity = 16384;
  const Clock* clock = nullptr;  // must outlive the store
};

class PosixObjects;

// Every call acts on its thread as its identity (ThreadCredentials), and leaves the thread so.
class PosixStore final : public Store {
 public:
  // Blocks. The status says what is wrong with `path` or with this host.
  static absl::StatusOr<std::unique_ptr<PosixStore>> Open(const PosixStoreOptions& options);
  ~PosixStore() override;

  // Without the file system's handles a restart of the server makes handles stale.
  bool handles_survive_restart() const;
  // Descriptors kept between calls.
  size_t open_objects() const;

  Result<StoreEntry> Attach(const Identity&, std::string_view path) override;
  Result<StoreEntry> Lookup(const Identity&, const wire::FileHandle& parent,
                            std::string_view name) override;
  Result<wire::FileHandle> Identify(const Identity&, const wire::FileHandle& parent,
                                    std::string_view name) override;
  void Forget(const wire::FileHandle&) override;
  Result<wire::Attributes> GetAttr(const Identity&, const wire::FileHandle&,
                                   OpenFile* open) override;
  Result<wire::Attributes> SetAttr(const Identity&, const wire::FileHandle&, OpenFile* open,
                                   const wire::SetAttributes&) override;
  Result<std::string> ReadLink(const Identity&, const wire::FileHandle&) override;
  Result<StoreEntry> MkNod(const Identity&, const wire::FileHandle& parent, std::string_view name,
                           uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor) override;
  Result<StoreEntry> MkDir(const Identity&, const wire::FileHandle& parent, std::string_view name,
                           uint32_t mode) override;
  Errno Unlink(const Identity&, const wire::FileHandle& parent, std::string_view name) override;
  Errno RmDir(const Identity&, const wire::FileHandle& parent, std::string_view name) override;
  Result<StoreEntry> SymLink(const Identity&, const wire::FileHandle& parent, std::string_view name,
                             std::string_view target) override;
  Errno Rename(const Identity&, const wire::FileHandle& parent, std::string_view name,
               const wire::FileHandle& new_parent, std::string_view new_name,
               uint32_t flags) override;
  Result<StoreEntry> Link(const Identity&, const wire::FileHandle&,
                          const wire::FileHandle& new_parent, std::string_view new_name) override;
  Errno Access(const Identity&, const wire::FileHandle&, uint32_t mask) override;
  Result<wire::FileSystemStatistics> StatFs(const Identity&, const wire::FileHandle&) override;
  Errno SyncFs(const wire::FileHandle&) override;

  Result<Opened> Open(const Identity&, const wire::FileHandle&, uint32_t flags,
                      bool kill_suid_gid) override;
  Result<Opened> Create(const Identity&, const wire::FileHandle& parent, std::string_view name,
                        uint32_t flags, uint32_t mode, bool kill_suid_gid) override;
  Result<Opened> TmpFile(const Identity&, const wire::FileHandle& parent, uint32_t flags,
                         uint32_t mode) override;

  Result<uint64_t> GetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                            absl::Span<std::byte> into) override;
  Result<uint64_t> ListXattr(const Identity&, const wire::FileHandle&,
                             absl::Span<std::byte> into) override;
  Errno SetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                 std::string_view value, uint32_t flags, bool acl_kill_sgid) override;
  Errno RemoveXattr(const Identity&, const wire::FileHandle&, std::string_view name) override;

 private:
  using SetIdBits = ThreadCredentials::SetIdBits;

  explicit PosixStore(std::unique_ptr<PosixObjects> objects);
  // How every call begins: finds the object and takes the caller's identity.
  Result<ObjectRef> Enter(const Identity&, const wire::FileHandle&,
                          SetIdBits = SetIdBits::kAsCaller);
  Result<StoreEntry> Find(int parent, const char* name);
  Result<Opened> OpenObject(const PosixObject&, const wire::FileHandle&, uint32_t flags);
  // Owns `fd`; `known` is its handle when there is one already.
  Result<Opened> Finish(int fd, uint32_t flags, const wire::FileHandle* known);

  const std::unique_ptr<PosixObjects> objects_;  // thread-safe
};

}  // namespace rdmafs
