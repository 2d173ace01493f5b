// LocalFileSystem: names and attributes.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "tests/fuse/acting_as.h"
#include "tests/fuse/local_file_system.h"

namespace rdmafs {
namespace {

Result<Unit> Done(int result) { return ToResult(result == 0 ? kOk : Errno(errno)); }

// What a change of the names in `directory` is answered.
Result<Attributes> After(LocalDirectory& names, const FileHandle& directory, int result) {
  if (result != 0) return Errno(errno);
  return names.Find(directory, "")->attributes;
}

// The same for one that made `name`.
Result<Entry> Made(LocalDirectory& names, const FileHandle& directory, std::string_view name) {
  Result<Entry> entry = names.Find(directory, name);
  if (entry.ok()) entry->parent = names.Find(directory, "")->attributes;
  return entry;
}

}  // namespace

Result<std::string> LocalFileSystem::PathOf(const FileHandle& handle) {
  const int fd = directory_.PathFd(handle);
  if (fd < 0) return Errno(ESTALE);
  return "/proc/self/fd/" + std::to_string(fd);
}

void LocalFileSystem::Lookup(const Caller& caller, const FileHandle& parent, std::string_view name,
                             Reply<Entry> reply) {
  ActingAs acting(caller);
  reply.Complete(directory_.Find(parent, name));
}

void LocalFileSystem::GetAttr(const Caller&, const FileHandle& handle, OpenId,
                              Reply<Attributes> reply) {
  Result<Entry> entry = directory_.Find(handle, "");
  if (!entry.ok()) return reply.Complete(entry.error());
  reply.Complete(entry->attributes);
}

void LocalFileSystem::SetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                              const SetAttributes& changes, Reply<Attributes> reply) {
  const int fd = directory_.PathFd(handle);
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  const char* const object = path->c_str();
  const LocalDirectory::UsedFd open_fd = directory_.OpenFd(open_id);
  int result = 0;
  {
    ActingAs acting(caller);
    if ((changes.valid & (wire::kSetUid | wire::kSetGid)) != 0) {
      result = ::fchownat(fd, "", (changes.valid & wire::kSetUid) != 0 ? changes.uid : -1u,
                          (changes.valid & wire::kSetGid) != 0 ? changes.gid : -1u, AT_EMPTY_PATH);
    }
    if (result == 0 && (changes.valid & wire::kSetMode) != 0)
      result = ::chmod(object, changes.mode & 07777);
    if (result == 0 && (changes.valid & wire::kSetSize) != 0) {
      result = open_fd >= 0 ? ::ftruncate(open_fd, static_cast<off_t>(changes.size))
                            : ::truncate(object, static_cast<off_t>(changes.size));
    }
    const uint32_t times =
        wire::kSetAtime | wire::kSetMtime | wire::kSetAtimeNow | wire::kSetMtimeNow;
    if (result == 0 && (changes.valid & times) != 0) {
      timespec spec[2] = {{changes.atime_s, changes.atime_ns}, {changes.mtime_s, changes.mtime_ns}};
      if ((changes.valid & wire::kSetAtimeNow) != 0)
        spec[0].tv_nsec = UTIME_NOW;
      else if ((changes.valid & wire::kSetAtime) == 0)
        spec[0].tv_nsec = UTIME_OMIT;
      if ((changes.valid & wire::kSetMtimeNow) != 0)
        spec[1].tv_nsec = UTIME_NOW;
      else if ((changes.valid & wire::kSetMtime) == 0)
        spec[1].tv_nsec = UTIME_OMIT;
      result = ::utimensat(AT_FDCWD, object, spec, 0);
    }
  }
  if (result == 0 && (changes.valid & wire::kSetKillSuidGid) != 0) KillSuidGid(object);
  if (result != 0) return reply.Complete(Errno(errno));
  GetAttr(caller, handle, 0, std::move(reply));
}

void LocalFileSystem::ReadLink(const Caller&, const FileHandle& handle, Reply<Payload> reply) {
  const ssize_t n = ::readlinkat(directory_.PathFd(handle), "",
                                 reinterpret_cast<char*>(small_.data()), small_.size());
  if (n < 0) return reply.Complete(Errno(errno));
  reply.Complete(Payload{absl::MakeConstSpan(small_.data(), static_cast<size_t>(n)), {}, {}});
}

void LocalFileSystem::MkNod(const Caller& caller, const FileHandle& parent, std::string_view name,
                            uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor,
                            Reply<Entry> reply) {
  ActingAs acting(caller);
  const std::string text(name);
  if (::mknodat(directory_.PathFd(parent), text.c_str(), mode & ~caller.umask,
                makedev(rdev_major, rdev_minor)) != 0) {
    return reply.Complete(Errno(errno));
  }
  reply.Complete(Made(directory_, parent, name));
}

void LocalFileSystem::MkDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                            uint32_t mode, Reply<Entry> reply) {
  ActingAs acting(caller);
  if (::mkdirat(directory_.PathFd(parent), std::string(name).c_str(), mode & ~caller.umask) != 0) {
    return reply.Complete(Errno(errno));
  }
  reply.Complete(Made(directory_, parent, name));
}

void LocalFileSystem::Unlink(const Caller& caller, const FileHandle& parent, std::string_view name,
                             Reply<Attributes> reply) {
  ActingAs acting(caller);
  reply.Complete(After(directory_, parent,
                       ::unlinkat(directory_.PathFd(parent), std::string(name).c_str(), 0)));
}

void LocalFileSystem::RmDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                            Reply<Attributes> reply) {
  ActingAs acting(caller);
  reply.Complete(
      After(directory_, parent,
            ::unlinkat(directory_.PathFd(parent), std::string(name).c_str(), AT_REMOVEDIR)));
}

void LocalFileSystem::SymLink(const Caller& caller, const FileHandle& parent, std::string_view name,
                              std::string_view target, Reply<Entry> reply) {
  ActingAs acting(caller);
  if (::symlinkat(std::string(target).c_str(), directory_.PathFd(parent),
                  std::string(name).c_str()) != 0) {
    return reply.Complete(Errno(errno));
  }
  reply.Complete(Made(directory_, parent, name));
}

void LocalFileSystem::Rename(const Caller& caller, const FileHandle& parent, std::string_view name,
                             const FileHandle& new_parent, std::string_view new_name,
                             uint32_t flags, Reply<Attributes> reply) {
  ActingAs acting(caller);
  reply.Complete(
      After(directory_, new_parent,
            ::renameat2(directory_.PathFd(parent), std::string(name).c_str(),
                        directory_.PathFd(new_parent), std::string(new_name).c_str(), flags)));
}

void LocalFileSystem::Link(const Caller& caller, const FileHandle& handle,
                           const FileHandle& new_parent, std::string_view new_name,
                           Reply<Entry> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  if (::linkat(AT_FDCWD, path->c_str(), directory_.PathFd(new_parent),
               std::string(new_name).c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return reply.Complete(Errno(errno));
  }
  reply.Complete(directory_.Find(handle, ""));
}

void LocalFileSystem::Access(const Caller& caller, const FileHandle& handle, uint32_t mask,
                             Reply<Unit> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  ActingAs acting(caller);
  reply.Complete(Done(::faccessat(AT_FDCWD, path->c_str(), static_cast<int>(mask), AT_EACCESS)));
}

void LocalFileSystem::StatFs(const Caller&, const FileHandle& handle,
                             Reply<FileSystemStatistics> reply) {
  struct statvfs from;
  if (::fstatvfs(directory_.PathFd(handle), &from) != 0) return reply.Complete(Errno(errno));
  FileSystemStatistics to{};
  to.blocks = from.f_blocks;
  to.blocks_free = from.f_bfree;
  to.blocks_available = from.f_bavail;
  to.files = from.f_files;
  to.files_free = from.f_ffree;
  to.block_size = static_cast<uint32_t>(from.f_bsize);
  to.fragment_size = static_cast<uint32_t>(from.f_frsize);
  to.name_max = static_cast<uint32_t>(from.f_namemax);
  reply.Complete(to);
}

void LocalFileSystem::SyncFs(const Caller&, const FileHandle&, Reply<Unit> reply) {
  reply.Complete(Unit{});
}

}  // namespace rdmafs
