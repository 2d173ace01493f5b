// PosixStore: opening and creating files.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/posix_calls.h"
#include "server/posix_objects.h"
#include "server/posix_open_directory.h"
#include "server/posix_open_file.h"
#include "server/posix_store.h"

namespace rdmafs {
namespace {

// What of the caller's flags concerns the server's descriptor. O_DIRECT would demand alignment of
// buffers that are not the caller's, O_NONBLOCK and O_ASYNC are about its own descriptor.
constexpr uint32_t kPassedOn =
    O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC | O_DIRECTORY | O_NOATIME;
constexpr int kAlways = O_CLOEXEC | O_NOCTTY;
// Another client may remove and make a name again and again while we create it.
constexpr int kCreateAttempts = 8;

int ServerFlags(uint32_t flags) { return static_cast<int>(flags & kPassedOn) | kAlways; }

// A client's page cache reads around what it writes, so O_RDWR where the caller may.
int Widened(int flags) {
  return (flags & O_ACCMODE) == O_WRONLY ? (flags & ~O_ACCMODE) | O_RDWR : flags;
}

Errno CheckType(const PosixObject& object, uint32_t flags) {
  if (object.type == S_IFLNK) return Errno(ELOOP);
  if (object.type == S_IFDIR) return kOk;
  if ((flags & O_DIRECTORY) != 0) return Errno(ENOTDIR);
  // Pipes, sockets and devices are the client's own business; opening one here could block, or do
  // things.
  return object.type == S_IFREG ? kOk : Errno(ENXIO);
}

// May execute, may not read: the client's kernel reads it on behalf of the process, as a local one
// would.
int OpenForExecution(int fd, int flags) {
  if (!MayAccess(fd, X_OK).ok()) return -1;
  ThreadCredentials::ServerScope as_server;
  return open(ProcName(fd).path(), flags);
}

// A descriptor, or -1 and errno.
int Reopen(const PosixObject& object, uint32_t flags) {
  const ProcName name(object.fd.get());
  const int wanted = ServerFlags(flags);
  const int wide = Widened(wanted);
  if (wide != wanted && object.type == S_IFREG) {
    if (int fd = open(name.path(), wide); fd >= 0) return fd;
  }
  int fd = open(name.path(), wanted);
  const bool execution =
      (flags & wire::kOpenForExecution) != 0 && (wanted & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
  if (fd < 0 && errno == EACCES && execution && object.type == S_IFREG) {
    fd = OpenForExecution(object.fd.get(), wanted);
    if (fd < 0) errno = EACCES;
  }
  return fd;
}

bool FlagsMakeSense(uint32_t flags) {
  return (flags & O_ACCMODE) != O_ACCMODE && (flags & O_PATH) == 0 &&
         (flags & O_TMPFILE) != O_TMPFILE;
}

}  // namespace

Result<Store::Opened> PosixStore::Finish(int raw_fd, uint32_t flags,
                                         const wire::FileHandle* known) {
  UniqueFd fd(raw_fd);
  struct statx status;
  if (Errno error = StatFd(fd.get(), status); !error.ok()) return error;
  Opened opened;
  if (known != nullptr) {
    opened.entry = {ToAttributes(status, objects_->root_device()), *known};
  } else {
    auto entry = objects_->Describe(fd.get());
    if (!entry.ok()) return entry.error();
    opened.entry = *entry;
  }
  const OpenFile::FileId id{DeviceOf(status), status.stx_ino};
  if (S_ISDIR(status.stx_mode)) {
    opened.file = std::make_shared<PosixOpenDirectory>(std::move(fd), flags, opened.entry.handle,
                                                       id, *objects_);
  } else {
    opened.file = std::make_shared<PosixOpenFile>(std::move(fd), flags, opened.entry.handle, id);
  }
  return opened;
}

Result<Store::Opened> PosixStore::OpenObject(const PosixObject& object,
                                             const wire::FileHandle& handle, uint32_t flags) {
  if (Errno error = CheckType(object, flags); !error.ok()) return error;
  const int fd = Reopen(object, flags);
  if (fd < 0) return LastErrno();
  return Finish(fd, flags, &handle);
}

Result<Store::Opened> PosixStore::Open(const Identity& identity, const wire::FileHandle& handle,
                                       uint32_t flags, bool kill_suid_gid) {
  if (!FlagsMakeSense(flags)) return Errno(EINVAL);
  const bool kill = kill_suid_gid && (flags & O_TRUNC) != 0;
  auto object = Enter(identity, handle, kill ? SetIdBits::kClear : SetIdBits::kAsCaller);
  if (!object.ok()) return object.error();
  return OpenObject(**object, handle, flags & ~uint32_t{O_CREAT | O_EXCL});
}

// O_CREAT alone could open a pipe or a device that has the name, so: make it, or else look what it
// is.
Result<Store::Opened> PosixStore::Create(const Identity& identity, const wire::FileHandle& parent,
                                         std::string_view name, uint32_t flags, uint32_t mode,
                                         bool kill_suid_gid) {
  if (!FlagsMakeSense(flags) || (flags & O_DIRECTORY) != 0) return Errno(EINVAL);
  const ComponentName component(name);
  if (!component.error().ok()) return component.error();
  const bool kill = kill_suid_gid && (flags & O_TRUNC) != 0;
  auto directory = Enter(identity, parent, kill ? SetIdBits::kClear : SetIdBits::kAsCaller);
  if (!directory.ok()) return directory.error();
  const int directory_fd = (*directory)->fd.get();
  const uint32_t open_flags = flags & ~uint32_t{O_CREAT | O_EXCL};
  for (int attempt = 0; attempt < kCreateAttempts; ++attempt) {
    const int make = Widened(ServerFlags(open_flags)) | O_CREAT | O_EXCL | O_NOFOLLOW;
    const int fd = openat(directory_fd, component.c_str(), make, mode & 07777);
    if (fd >= 0) return Finish(fd, open_flags, nullptr);
    if (errno != EEXIST || (flags & O_EXCL) != 0) return LastErrno();
    auto entry = Find(directory_fd, component.c_str());
    if (!entry.ok() && entry.error() == Errno(ENOENT)) continue;
    if (!entry.ok()) return entry.error();
    auto object = objects_->Resolve(entry->handle);
    if (!object.ok() && object.error() == Errno(ESTALE)) continue;
    if (!object.ok()) return object.error();
    if ((*object)->type == S_IFDIR) return Errno(EISDIR);
    return OpenObject(**object, entry->handle, open_flags);
  }
  return Errno(EBUSY);
}

Result<Store::Opened> PosixStore::TmpFile(const Identity& identity, const wire::FileHandle& parent,
                                          uint32_t flags, uint32_t mode) {
  if ((flags & O_ACCMODE) == O_ACCMODE || (flags & O_ACCMODE) == O_RDONLY) return Errno(EINVAL);
  auto directory = Enter(identity, parent);
  if (!directory.ok()) return directory.error();
  const uint32_t open_flags = flags & ~uint32_t{O_CREAT | O_EXCL | O_TMPFILE | O_TRUNC};
  const int make = Widened(ServerFlags(open_flags)) | O_TMPFILE | static_cast<int>(flags & O_EXCL);
  const int fd = openat((*directory)->fd.get(), ".", make, mode & 07777);
  if (fd < 0) return LastErrno();
  return Finish(fd, open_flags, nullptr);
}

}  // namespace rdmafs
