#include "server/posix_objects.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/xattr.h>

#include "absl/strings/str_cat.h"
#include "server/posix_calls.h"
#include "server/thread_credentials.h"

namespace rdmafs {
namespace {

// struct file_handle of name_to_handle_at(2) with room for the most that our handles take.
struct KernelHandle {
  static constexpr size_t kMaxBytes = HandleCodec::kMaxObjectBytes - sizeof(int32_t);
  uint32_t size = kMaxBytes;
  int32_t type = 0;
  unsigned char bytes[kMaxBytes];

  file_handle* get() { return reinterpret_cast<file_handle*>(this); }
  // Type and bytes, as they stand in our handles.
  std::string_view object() const {
    return {reinterpret_cast<const char*>(&type), sizeof type + size};
  }
};
static_assert(offsetof(KernelHandle, type) == offsetof(file_handle, handle_type) &&
              offsetof(KernelHandle, bytes) == offsetof(file_handle, f_handle));

struct TableName {
  uint64_t device, inode, stamp;
  // What the table is searched by; the stamp is compared.
  std::string_view key() const {
    return {reinterpret_cast<const char*>(this), offsetof(TableName, stamp)};
  }
  std::string_view object() const { return {reinterpret_cast<const char*>(this), sizeof *this}; }
};
static_assert(sizeof(TableName) == 24);

// A handle without its signature.
std::string_view KeyOf(const wire::FileHandle& handle) {
  return handle.view().substr(0, handle.size_bytes - HandleCodec::kMacBytes);
}

ObjectRef MakeObject(UniqueFd fd, const struct statx& status, uint64_t stamp = 0) {
  auto object = std::make_shared<PosixObject>();
  object->fd = std::move(fd);
  object->device = DeviceOf(status);
  object->inode = status.stx_ino;
  object->type = status.stx_mode & S_IFMT;
  object->stamp = stamp;
  return object;
}

// EOVERFLOW, EOPNOTSUPP, EPERM (a container's filter): no handles here.
Result<KernelHandle> NameToHandle(int directory, const char* name, int flags) {
  KernelHandle handle;
  int mount_id;
  if (name_to_handle_at(directory, name, handle.get(), &mount_id, flags) != 0) return LastErrno();
  return handle;
}

}  // namespace

PosixObjects::PosixObjects(const PosixStoreOptions& options)
    : codec_(options.key, options.export_id) {
  const HandleKey random = RandomHandleKey();
  uint64_t stamp;
  std::memcpy(&stamp, random.data(), sizeof stamp);
  next_stamp_ = stamp;
}

absl::StatusOr<std::unique_ptr<PosixObjects>> PosixObjects::Open(const PosixStoreOptions& options) {
  if (!HandleCodec::Available())
    return absl::UnavailableError("OpenSSL's libcrypto offers no SipHash");
  auto mounts = PosixMounts::Open(options.path, options.cross_mounts);
  if (!mounts.ok()) return mounts.status();
  std::unique_ptr<PosixObjects> objects(new PosixObjects(options));
  objects->mounts_ = *std::move(mounts);
  const PosixMount& mount = objects->mounts_->root();
  UniqueFd fd(open(ProcName(mount.fd.get()).path(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct statx status;
  if (!fd.valid() || !StatFd(fd.get(), status).ok()) {
    return absl::UnavailableError(
        absl::StrCat("/proc/self/fd is needed: ", LastErrno().ToString()));
  }
  objects->root_ = MakeObject(std::move(fd), status);
  objects->root_handle_ = objects->codec_.Encode({HandleKind::kRoot, mount.file_system, {}});
  objects->table_ =
      options.handles == PosixStoreOptions::Handles::kTable || !objects->CanNameByHandle();
  FdCache::Options cache = options.fd_cache;
  if (objects->table_) cache = {options.table_capacity, 0};
  objects->cache_ = std::make_unique<FdCache>(cache, *options.clock);
  return objects;
}

bool PosixObjects::CanNameByHandle() const {
  auto handle = NameToHandle(root_->fd.get(), "", AT_EMPTY_PATH);
  if (!handle.ok()) return false;
  ThreadCredentials::ReadSearchScope may_search;
  return UniqueFd(open_by_handle_at(mounts_->root().fd.get(), handle->get(), O_PATH | O_CLOEXEC))
      .valid();
}

Result<ObjectRef> PosixObjects::Resolve(const wire::FileHandle& handle) {
  auto parts = codec_.Decode(handle);
  if (!parts.ok()) return parts.error();
  switch (parts->kind) {
    case HandleKind::kRoot: {
      if (parts->file_system != mounts_->root().file_system) return Errno(ESTALE);
      struct statx status;
      if (Errno error = StatFd(root_->fd.get(), status); !error.ok()) return error;
      if (status.stx_nlink == 0) return Errno(ESTALE);
      return root_;
    }
    case HandleKind::kFile:
      return table_ ? Result<ObjectRef>(Errno(ESTALE)) : ResolveFile(*parts, KeyOf(handle));
    case HandleKind::kTable:
      return table_ ? ResolveTable(*parts) : Result<ObjectRef>(Errno(ESTALE));
  }
  return Errno(EBADF);
}

Result<ObjectRef> PosixObjects::ResolveFile(const HandleParts& parts, std::string_view key) {
  if (ObjectRef cached = cache_->Find(key)) return cached;
  const PosixMount* mount = mounts_->FindFileSystem(parts.file_system);
  if (mount == nullptr) return Errno(ESTALE);
  KernelHandle handle;
  if (parts.object.size() < sizeof handle.type ||
      parts.object.size() > HandleCodec::kMaxObjectBytes) {
    return Errno(EBADF);
  }
  std::memcpy(&handle.type, parts.object.data(), parts.object.size());
  handle.size = static_cast<uint32_t>(parts.object.size() - sizeof handle.type);
  UniqueFd fd;
  {
    ThreadCredentials::ReadSearchScope may_search;
    fd.reset(open_by_handle_at(mount->fd.get(), handle.get(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  }
  if (!fd.valid()) return Errno(errno == ENOENT ? ESTALE : errno);
  struct statx status;
  if (Errno error = StatFd(fd.get(), status); !error.ok()) return error;
  ObjectRef object = MakeObject(std::move(fd), status);
  return status.stx_nlink == 0 ? object : cache_->Insert(key, std::move(object));
}

Result<ObjectRef> PosixObjects::ResolveTable(const HandleParts& parts) {
  TableName name;
  if (parts.object.size() != sizeof name) return Errno(EBADF);
  std::memcpy(&name, parts.object.data(), sizeof name);
  ObjectRef object = cache_->Find(name.key());
  if (object == nullptr || object->stamp != name.stamp) return Errno(ESTALE);
  return object;
}

Result<StoreEntry> PosixObjects::Admit(UniqueFd fd) {
  struct statx status;
  if (Errno error = StatFd(fd.get(), status); !error.ok()) return error;
  auto mount = mounts_->Of(MountIdOf(status), fd.get());
  if (!mount.ok()) return mount.error();
  if (table_) return AdmitToTable(std::move(fd), status, **mount);
  auto entry = DescribeStat(fd.get(), status, **mount);
  if (entry.ok() && !(entry->handle == root_handle_)) {
    (void)cache_->Insert(KeyOf(entry->handle), MakeObject(std::move(fd), status));
  }
  return entry;
}

Result<StoreEntry> PosixObjects::Describe(int fd) {
  if (table_) {
    UniqueFd copy(open(ProcName(fd).path(), O_PATH | O_CLOEXEC));
    if (!copy.valid()) return LastErrno();
    return Admit(std::move(copy));
  }
  struct statx status;
  if (Errno error = StatFd(fd, status); !error.ok()) return error;
  auto mount = mounts_->Of(MountIdOf(status), fd);
  if (!mount.ok()) return mount.error();
  return DescribeStat(fd, status, **mount);
}

Result<StoreEntry> PosixObjects::DescribeStat(int fd, const struct statx& status,
                                              const PosixMount& mount) {
  auto handle = HandleOf(fd, status, mount);
  if (!handle.ok()) return handle.error();
  return StoreEntry{AttributesOf(fd, status, mount), *handle};
}

wire::Attributes PosixObjects::AttributesOf(int fd, const struct statx& status) {
  auto mount = mounts_->Of(MountIdOf(status), fd);
  return mount.ok() ? AttributesOf(fd, status, **mount) : ToAttributes(status, root_device());
}

wire::Attributes PosixObjects::AttributesOf(int fd, const struct statx& status,
                                            const PosixMount& mount) const {
  wire::Attributes out = ToAttributes(status, root_device());
  // Symlinks cannot have ACLs, which is another answer than having none.
  if (mount.plain_names && !S_ISLNK(status.stx_mode) &&
      listxattr(ProcName(fd).path(), nullptr, 0) == 0) {
    out.flags |= wire::kPlain;
    if (ThreadCredentials::OfThisThread().SeesTrusted()) out.flags |= wire::kPlainToRoot;
  }
  return out;
}

Result<wire::FileHandle> PosixObjects::HandleOf(int fd, const struct statx& status,
                                                const PosixMount& mount) const {
  if (IsRoot(DeviceOf(status), status.stx_ino)) return root_handle_;
  auto handle = NameToHandle(fd, "", AT_EMPTY_PATH);
  // A mount below the export whose file system has no handles, or too long ones.
  if (!handle.ok()) return Errno(EXDEV);
  return codec_.Encode({HandleKind::kFile, mount.file_system, handle->object()});
}

Result<StoreEntry> PosixObjects::AdmitToTable(UniqueFd fd, const struct statx& status,
                                              const PosixMount& mount) {
  StoreEntry entry{AttributesOf(fd.get(), status, mount), root_handle_};
  if (IsRoot(DeviceOf(status), status.stx_ino)) return entry;
  // With the birth time an object that left the table comes back under the handle that it had.
  const bool born = (status.stx_mask & STATX_BTIME) != 0 && status.stx_btime.tv_sec != 0;
  const uint64_t stamp = born ? static_cast<uint64_t>(status.stx_btime.tv_sec) * 1'000'000'000 +
                                    status.stx_btime.tv_nsec
                              : next_stamp_.fetch_add(1, std::memory_order_relaxed);
  TableName name{DeviceOf(status), status.stx_ino, stamp};
  name.stamp = cache_->Insert(name.key(), MakeObject(std::move(fd), status, stamp))->stamp;
  entry.handle = codec_.Encode({HandleKind::kTable, mount.file_system, name.object()});
  return entry;
}

Result<StoreEntry> PosixObjects::AdmitCovered(int parent, const char* name) {
  if (table_) return Errno(EXDEV);
  KernelHandle handle;
  {
    ThreadCredentials::ServerScope as_server;
    UniqueFd copy(open_tree(parent, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!copy.valid()) return Errno(EXDEV);
    auto named = NameToHandle(copy.get(), name, 0);
    if (!named.ok()) return Errno(EXDEV);
    handle = *named;
  }
  struct statx status;
  if (Errno error = StatFd(parent, status); !error.ok()) return error;
  auto mount = mounts_->Of(MountIdOf(status), parent);
  if (!mount.ok()) return mount.error();
  ThreadCredentials::ReadSearchScope may_search;
  UniqueFd fd(open_by_handle_at((*mount)->fd.get(), handle.get(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Errno(EXDEV);
  return Admit(std::move(fd));
}

void PosixObjects::Forget(const wire::FileHandle& handle) {
  auto parts = codec_.Decode(handle);
  // With handles of the file system there is nothing to free: the cache is bounded by itself.
  if (!parts.ok() || !table_ || parts->kind != HandleKind::kTable) return;
  auto object = ResolveTable(*parts);
  if (!object.ok()) return;
  TableName name;
  std::memcpy(&name, parts->object.data(), sizeof name);
  struct statx status;
  const bool unlinked = StatFd((*object)->fd.get(), status).ok() && status.stx_nlink == 0;
  // Another client may still use what has a name; it goes when room is needed.
  unlinked ? cache_->Erase(name.key()) : cache_->Demote(name.key());
}

Result<const PosixMount*> PosixObjects::MountOf(const PosixObject& object) {
  struct statx status;
  if (Errno error = StatFd(object.fd.get(), status); !error.ok()) return error;
  return mounts_->Of(MountIdOf(status), object.fd.get());
}

Result<wire::FileHandle> PosixObjects::Identify(int parent, const char* name) const {
  const uint64_t file_system = mounts_->root().file_system;
  if (!table_) {
    auto handle = NameToHandle(parent, name, 0);
    if (!handle.ok()) return handle.error();
    return codec_.Name({HandleKind::kFile, file_system, handle->object()});
  }
  struct statx status;
  if (statx(parent, name, AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &status) != 0) {
    return LastErrno();
  }
  const TableName named{DeviceOf(status), status.stx_ino,
                        static_cast<uint64_t>(status.stx_btime.tv_sec) * 1'000'000'000 +
                            status.stx_btime.tv_nsec};
  return codec_.Name({HandleKind::kTable, file_system, named.object()});
}

PosixObjects::Departure::Departure(PosixObjects& objects, int parent, const char* name)
    : objects_(objects) {
  if (objects.table_) {
    struct statx status;
    if (statx(parent, name, AT_SYMLINK_NOFOLLOW, STATX_INO, &status) != 0) return;
    key_ = TableName{DeviceOf(status), status.stx_ino, 0}.key();
    return;
  }
  auto handle = NameToHandle(parent, name, 0);
  if (!handle.ok()) return;
  key_ = objects.codec_
             .Name({HandleKind::kFile, objects.mounts_->root().file_system, handle->object()})
             .view();
}

void PosixObjects::Departure::Done() {
  if (key_.empty()) return;
  // In a table an unlinked file that is still in use has no other way back.
  objects_.table_ ? objects_.cache_->EraseIfDemoted(key_) : objects_.cache_->Erase(key_);
}

}  // namespace rdmafs
