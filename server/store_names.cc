// PosixStore: what works on names in directories.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>

#include "server/posix_calls.h"
#include "server/posix_objects.h"
#include "server/posix_store.h"

namespace rdmafs {
namespace {

constexpr int kPathFlags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
constexpr uint32_t kModeBits = 07777;

}  // namespace

Result<StoreEntry> PosixStore::Find(int parent, const char* name) {
  UniqueFd fd(openat(parent, name, kPathFlags));
  if (!fd.valid()) return LastErrno();
  auto entry = objects_->Admit(std::move(fd));
  if (!entry.ok() && entry.error() == Errno(EXDEV)) return objects_->AdmitCovered(parent, name);
  return entry;
}

Result<StoreEntry> PosixStore::Lookup(const Identity& identity, const wire::FileHandle& parent,
                                      std::string_view name) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  return Find((*directory)->fd.get(), component.c_str());
}

Result<wire::FileHandle> PosixStore::Identify(const Identity& identity,
                                              const wire::FileHandle& parent,
                                              std::string_view name) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  return objects_->Identify((*directory)->fd.get(), component.c_str());
}

Result<StoreEntry> PosixStore::MkNod(const Identity& identity, const wire::FileHandle& parent,
                                     std::string_view name, uint32_t mode, uint32_t rdev_major,
                                     uint32_t rdev_minor) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  const int fd = (*directory)->fd.get();
  if (mknodat(fd, component.c_str(), mode & (S_IFMT | kModeBits),
              makedev(rdev_major, rdev_minor)) != 0) {
    return LastErrno();
  }
  return Find(fd, component.c_str());
}

Result<StoreEntry> PosixStore::MkDir(const Identity& identity, const wire::FileHandle& parent,
                                     std::string_view name, uint32_t mode) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  const int fd = (*directory)->fd.get();
  if (mkdirat(fd, component.c_str(), mode & kModeBits) != 0) return LastErrno();
  return Find(fd, component.c_str());
}

Result<StoreEntry> PosixStore::SymLink(const Identity& identity, const wire::FileHandle& parent,
                                       std::string_view name, std::string_view target) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  if (target.size() > wire::kMaxPathBytes) return Errno(ENAMETOOLONG);
  if (target.find('\0') != target.npos) return Errno(EINVAL);
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  const int fd = (*directory)->fd.get();
  if (symlinkat(std::string(target).c_str(), fd, component.c_str()) != 0) return LastErrno();
  return Find(fd, component.c_str());
}

Errno PosixStore::Unlink(const Identity& identity, const wire::FileHandle& parent,
                         std::string_view name) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  PosixObjects::Departure departure(*objects_, (*directory)->fd.get(), component.c_str());
  if (unlinkat((*directory)->fd.get(), component.c_str(), 0) != 0) return LastErrno();
  departure.Done();
  return kOk;
}

Errno PosixStore::RmDir(const Identity& identity, const wire::FileHandle& parent,
                        std::string_view name) {
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  PosixObjects::Departure departure(*objects_, (*directory)->fd.get(), component.c_str());
  if (unlinkat((*directory)->fd.get(), component.c_str(), AT_REMOVEDIR) != 0) return LastErrno();
  departure.Done();
  return kOk;
}

Errno PosixStore::Rename(const Identity& identity, const wire::FileHandle& parent,
                         std::string_view name, const wire::FileHandle& new_parent,
                         std::string_view new_name, uint32_t flags) {
  const ComponentName from(name), to(new_name);
  if (!from.error().ok()) return from.error();
  if (!to.error().ok()) return to.error();
  if ((flags & ~uint32_t{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return Errno(EINVAL);
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  auto new_directory = Enter(identity, new_parent);
  if (!new_directory.ok()) return new_directory.error();
  const int new_fd = (*new_directory)->fd.get();
  if (flags != 0) {
    return ToErrno(renameat2((*directory)->fd.get(), from.c_str(), new_fd, to.c_str(), flags));
  }
  PosixObjects::Departure replaced(*objects_, new_fd, to.c_str());
  if (renameat2((*directory)->fd.get(), from.c_str(), new_fd, to.c_str(), 0) != 0)
    return LastErrno();
  replaced.Done();
  return kOk;
}

Result<StoreEntry> PosixStore::Link(const Identity& identity, const wire::FileHandle& handle,
                                    const wire::FileHandle& new_parent, std::string_view new_name) {
  const ComponentName component(new_name);
  if (!component.error().ok()) return component.error();
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  auto directory = Enter(identity, new_parent);
  if (!directory.ok()) return directory.error();
  const int fd = (*directory)->fd.get();
  // AT_EMPTY_PATH would ask for CAP_DAC_READ_SEARCH, which the caller's identity does not have.
  if (linkat(AT_FDCWD, ProcName((*object)->fd.get()).path(), fd, component.c_str(),
             AT_SYMLINK_FOLLOW) != 0) {
    return LastErrno();
  }
  return Find(fd, component.c_str());
}

Result<std::string> PosixStore::ReadLink(const Identity& identity, const wire::FileHandle& handle) {
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  if ((*object)->type != S_IFLNK) return Errno(EINVAL);
  std::string target(wire::kMaxPathBytes + 1, '\0');
  const ssize_t size = readlinkat((*object)->fd.get(), "", target.data(), target.size());
  if (size < 0) return LastErrno();
  target.resize(static_cast<size_t>(size));
  return target;
}

}  // namespace rdmafs
