// LocalFileSystem: open files, directories, extended attributes and locks.
#include "tests/fuse/local_file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <cstring>

#include "tests/fuse/acting_as.h"

namespace rdmafs {
namespace {

Result<Unit> Done(int result) { return ToResult(result == 0 ? kOk : Errno(errno)); }

// O_DIRECT would ask for aligned memory and sizes.
int OpenFlags(uint32_t flags) { return static_cast<int>(flags & ~uint32_t{O_DIRECT}) | O_CLOEXEC; }

// One record behind `used` bytes of `space`; false when it does not fit.
bool AppendRecord(absl::Span<std::byte> space, size_t& used, const struct dirent64& dirent,
                  const Entry* entry) {
  wire::DirentHeader header{};
  const size_t name_size = std::strlen(dirent.d_name);
  const size_t extra = entry != nullptr ? sizeof entry->attributes + entry->handle.size_bytes : 0;
  const size_t size = (sizeof header + extra + name_size + 7) & ~size_t{7};
  if (size > space.size() - used) return false;
  header.ino = dirent.d_ino;
  header.next_cookie = static_cast<uint64_t>(dirent.d_off);
  header.type = dirent.d_type;
  header.flags = entry != nullptr ? wire::kDirentAttributes : 0;
  header.handle_size = entry != nullptr ? entry->handle.size_bytes : 0;
  header.name_size = static_cast<uint16_t>(name_size);
  header.record_size = static_cast<uint16_t>(size);
  std::byte* at = space.data() + used;
  std::memcpy(at, &header, sizeof header);
  at += sizeof header;
  if (entry != nullptr) {
    std::memcpy(at, &entry->attributes, sizeof entry->attributes);
    at += sizeof entry->attributes;
    std::memcpy(at, entry->handle.bytes.data(), entry->handle.size_bytes);
    at += entry->handle.size_bytes;
  }
  std::memcpy(at, dirent.d_name, name_size);
  used += size;
  return true;
}

}  // namespace

Errno LocalFileSystem::OpenAs(OpenId id, int at, const std::string& path, uint32_t flags,
                              uint32_t mode) {
  UniqueFd fd(::openat(at, path.c_str(), OpenFlags(flags), mode));
  if (!fd.valid()) return Errno(errno);
  directory_.AddOpen(id, std::move(fd));
  return kOk;
}

void LocalFileSystem::Open(const Caller& caller, const FileHandle& handle, OpenId id,
                           uint32_t flags, uint32_t options, Reply<Attributes> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  {
    ActingAs acting(caller);
    if (Errno error = OpenAs(id, AT_FDCWD, *path, flags, 0); !error.ok())
      return reply.Complete(error);
  }
  if ((options & wire::kOpenKillSuidGid) != 0) KillSuidGid(path->c_str());
  GetAttr(caller, handle, id, std::move(reply));
}

void LocalFileSystem::OpenAndRead(const Caller& caller, const FileHandle& handle, uint32_t flags,
                                  uint32_t options, ReadRequest first, Reply<OpenedFile> reply) {
  Result<OpenedFile> opened = Errno(EIO);
  Open(caller, handle, first.open_id, flags, options, [&](Result<Attributes> result) {
    if (result.ok()) {
      opened = OpenedFile{*result, {}};
    } else {
      opened = result.error();
    }
  });
  if (opened.ok()) {
    Read(std::move(first), [&](Result<Payload> read) {
      if (read.ok()) opened->first = *std::move(read);
    });
  }
  reply.Complete(std::move(opened));
}

void LocalFileSystem::Create(const Caller& caller, const FileHandle& parent, std::string_view name,
                             OpenId id, uint32_t flags, uint32_t mode, uint32_t options,
                             Reply<Entry> reply) {
  ActingAs acting(caller);
  const Errno error = OpenAs(id, directory_.PathFd(parent), std::string(name),
                             flags | O_CREAT | O_NOFOLLOW, mode & ~caller.umask);
  if (!error.ok()) return reply.Complete(error);
  reply.Complete(directory_.Find(parent, name));
}

void LocalFileSystem::TmpFile(const Caller& caller, const FileHandle& parent, OpenId id,
                              uint32_t flags, uint32_t mode, Reply<Entry> reply) {
  ActingAs acting(caller);
  const Errno error =
      OpenAs(id, directory_.PathFd(parent), ".", flags | O_TMPFILE, mode & ~caller.umask);
  if (!error.ok()) return reply.Complete(error);
  const std::string path = "/proc/self/fd/" + std::to_string(directory_.OpenFd(id));
  const UniqueFd object(::open(path.c_str(), O_PATH | O_CLOEXEC));
  reply.Complete(directory_.Find(object.get(), ""));
}

void LocalFileSystem::Release(OpenId id, Reply<Unit> reply) {
  directory_.Release(id);
  reply.Complete(Unit{});
}

void LocalFileSystem::Read(ReadRequest request, Reply<Payload> reply) {
  absl::Span<std::byte> space = request.destination.bytes;
  if (space.empty()) space = absl::MakeSpan(small_).first(request.size);
  const ssize_t n = ::pread(directory_.OpenFd(request.open_id), space.data(), request.size,
                            static_cast<off_t>(request.offset));
  if (n < 0) return reply.Complete(Errno(errno));
  reply.Complete(Payload{space.first(static_cast<size_t>(n)), std::move(request.destination.hold),
                         ReceivedMessage()});
}

void LocalFileSystem::Write(WriteRequest request, Reply<uint64_t> reply) {
  const LocalDirectory::UsedFd fd = directory_.OpenFd(request.open_id);
  const ssize_t n = ::pwrite(fd, request.source.bytes.data(), request.source.bytes.size(),
                             static_cast<off_t>(request.offset));
  if (n < 0) return reply.Complete(Errno(errno));
  if ((request.options & wire::kWriteKillSuidGid) != 0) {
    KillSuidGid(("/proc/self/fd/" + std::to_string(fd)).c_str());
  }
  reply.Complete(static_cast<uint64_t>(n));
}

void LocalFileSystem::Fsync(OpenId id, bool data_only, Reply<Unit> reply) {
  const LocalDirectory::UsedFd fd = directory_.OpenFd(id);
  reply.Complete(Done(data_only ? ::fdatasync(fd) : ::fsync(fd)));
}

void LocalFileSystem::Fallocate(const Caller&, OpenId id, uint64_t offset, uint64_t length,
                                uint32_t mode, Reply<Unit> reply) {
  reply.Complete(Done(::fallocate(directory_.OpenFd(id), static_cast<int>(mode),
                                  static_cast<off_t>(offset), static_cast<off_t>(length))));
}

void LocalFileSystem::Seek(OpenId id, uint64_t offset, uint32_t whence, Reply<uint64_t> reply) {
  const off_t at =
      ::lseek(directory_.OpenFd(id), static_cast<off_t>(offset), static_cast<int>(whence));
  if (at < 0) return reply.Complete(Errno(errno));
  reply.Complete(static_cast<uint64_t>(at));
}

void LocalFileSystem::CopyFileRange(const Caller&, const CopyFileRangeRequest& request,
                                    Reply<uint64_t> reply) {
  auto in = static_cast<off64_t>(request.in_offset), out = static_cast<off64_t>(request.out_offset);
  const ssize_t n = ::copy_file_range(directory_.OpenFd(request.in_id), &in,
                                      directory_.OpenFd(request.out_id), &out, request.length, 0);
  if (n < 0) return reply.Complete(Errno(errno));
  reply.Complete(static_cast<uint64_t>(n));
}

void LocalFileSystem::ReadDir(const Caller&, ReadDirRequest request, Reply<Payload> reply) {
  const LocalDirectory::UsedFd fd = directory_.OpenFd(request.open_id);
  std::array<char, 32 * 1024> raw;
  absl::Span<std::byte> space = request.destination.bytes;
  size_t used = 0;
  // Entries that do not fit are read again by their cookie.
  if (::lseek(fd, static_cast<off_t>(request.cookie), SEEK_SET) < 0)
    return reply.Complete(Errno(errno));
  const ssize_t n = ::getdents64(fd, raw.data(), raw.size());
  if (n < 0) return reply.Complete(Errno(errno));
  for (ssize_t at = 0; at < n;) {
    const auto* dirent = reinterpret_cast<const dirent64*>(raw.data() + at);
    Result<Entry> entry = Errno(ENOENT);
    if ((request.options & wire::kReadDirPlus) != 0 && std::strcmp(dirent->d_name, "..") != 0) {
      entry = directory_.Find(fd, dirent->d_name);
    }
    if (!AppendRecord(space, used, *dirent, entry.ok() ? &*entry : nullptr)) break;
    at += dirent->d_reclen;
  }
  reply.Complete(
      Payload{space.first(used), std::move(request.destination.hold), ReceivedMessage()});
}

void LocalFileSystem::GetXattr(const Caller&, const FileHandle& handle, std::string_view name,
                               uint32_t size, PayloadMemory destination, Reply<XattrValue> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  const std::string text(name);
  if (text == "user.lost") {
    directory_.lost = true;
    unanswered_.push_back(std::move(reply));
    return;
  }
  std::byte* const space = destination.bytes.empty() ? small_.data() : destination.bytes.data();
  const ssize_t n = ::getxattr(path->c_str(), text.c_str(), space, size);
  if (n < 0) return reply.Complete(Errno(errno));
  const auto count = static_cast<size_t>(n);
  Payload payload{
      absl::MakeConstSpan(space, size == 0 ? 0 : count), std::move(destination.hold), {}};
  reply.Complete(XattrValue{std::move(payload), count});
}

void LocalFileSystem::ListXattr(const Caller&, const FileHandle& handle, uint32_t size,
                                PayloadMemory destination, Reply<XattrValue> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  std::byte* const space = destination.bytes.empty() ? small_.data() : destination.bytes.data();
  const ssize_t n = ::listxattr(path->c_str(), reinterpret_cast<char*>(space), size);
  if (n < 0) return reply.Complete(Errno(errno));
  const auto count = static_cast<size_t>(n);
  Payload payload{
      absl::MakeConstSpan(space, size == 0 ? 0 : count), std::move(destination.hold), {}};
  reply.Complete(XattrValue{std::move(payload), count});
}

void LocalFileSystem::SetXattr(const Caller&, const FileHandle& handle, std::string_view name,
                               PayloadMemory value, uint32_t flags, uint32_t, Reply<Unit> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  reply.Complete(Done(::setxattr(path->c_str(), std::string(name).c_str(), value.bytes.data(),
                                 value.bytes.size(), static_cast<int>(flags))));
}

void LocalFileSystem::RemoveXattr(const Caller&, const FileHandle& handle, std::string_view name,
                                  Reply<Unit> reply) {
  Result<std::string> path = PathOf(handle);
  if (!path.ok()) return reply.Complete(path.error());
  reply.Complete(Done(::removexattr(path->c_str(), std::string(name).c_str())));
}

void LocalFileSystem::GetLock(OpenId id, const LockRange& range, uint32_t flags,
                              Reply<LockRange> reply) {
  reply.Complete(directory_.GetLock(id, range, (flags & wire::kLockFlock) != 0));
}

CancelToken LocalFileSystem::SetLock(OpenId id, const LockRange& range, uint32_t flags,
                                     Reply<Unit> reply) {
  return directory_.SetLock(loop_, id, range, flags, std::move(reply));
}

void LocalFileSystem::ReleaseOwner(OpenId id, uint64_t owner, Reply<Unit> reply) {
  directory_.ReleaseOwner(id, owner);
  reply.Complete(Unit{});
}

}  // namespace rdmafs
