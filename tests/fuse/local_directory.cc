#include "tests/fuse/local_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>

namespace rdmafs {
namespace {

Attributes ToAttributes(const struct stat& from) {
  Attributes to{};
  to.ino = from.st_ino;
  to.size = static_cast<uint64_t>(from.st_size);
  to.blocks = static_cast<uint64_t>(from.st_blocks);
  to.atime_s = from.st_atim.tv_sec;
  to.mtime_s = from.st_mtim.tv_sec;
  to.ctime_s = from.st_ctim.tv_sec;
  to.atime_ns = static_cast<uint32_t>(from.st_atim.tv_nsec);
  to.mtime_ns = static_cast<uint32_t>(from.st_mtim.tv_nsec);
  to.ctime_ns = static_cast<uint32_t>(from.st_ctim.tv_nsec);
  to.mode = from.st_mode;
  to.nlink = static_cast<uint32_t>(from.st_nlink);
  to.uid = from.st_uid;
  to.gid = from.st_gid;
  to.rdev_major = major(from.st_rdev);
  to.rdev_minor = minor(from.st_rdev);
  to.blksize = static_cast<uint32_t>(from.st_blksize);
  return to;
}

FileHandle ToHandle(uint64_t number) {
  FileHandle handle;
  handle.size_bytes = sizeof number;
  std::memcpy(handle.bytes.data(), &number, sizeof number);
  return handle;
}

bool Overlap(const LockRange& a, const LockRange& b) {
  return a.start <= b.end && b.start <= a.end;
}

}  // namespace

LocalDirectory::LocalDirectory(const std::string& path) {
  ::umask(0);
  Result<Entry> root = Find(AT_FDCWD, path.c_str());
  CHECK(root.ok());
  root_ = *root;
}

Result<Entry> LocalDirectory::Find(int parent, const char* name) {
  const bool itself = *name == '\0';
  UniqueFd fd(itself ? ::fcntl(parent, F_DUPFD_CLOEXEC, 3)
                     : ::openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0) return Errno(errno);
  Entry entry{ToAttributes(status), {}};
  absl::MutexLock lock(&mutex_);
  auto [found, fresh] = numbers_.try_emplace({status.st_dev, status.st_ino}, numbers_.size() + 1);
  // An object keeps its descriptor, and so its inode number, as long as the directory is served.
  if (fresh) objects_[found->second] = std::move(fd);
  entry.handle = ToHandle(found->second);
  return entry;
}

Result<Entry> LocalDirectory::Find(const FileHandle& parent, std::string_view name) {
  const int fd = PathFd(parent);
  if (fd < 0) return Errno(ESTALE);
  return Find(fd, std::string(name).c_str());
}

int LocalDirectory::PathFd(const FileHandle& handle) const {
  uint64_t number = 0;
  if (handle.size_bytes != sizeof number) return -1;
  std::memcpy(&number, handle.bytes.data(), sizeof number);
  absl::MutexLock lock(&mutex_);
  auto found = objects_.find(number);
  return found == objects_.end() ? -1 : found->second.get();
}

void LocalDirectory::AddOpen(OpenId id, UniqueFd fd) {
  absl::MutexLock lock(&mutex_);
  open_[id] = std::make_shared<UniqueFd>(std::move(fd));
}

LocalDirectory::UsedFd LocalDirectory::OpenFd(OpenId id) const {
  absl::MutexLock lock(&mutex_);
  auto found = open_.find(id);
  return UsedFd(found == open_.end() ? nullptr : found->second);
}

size_t LocalDirectory::open_count() const {
  absl::MutexLock lock(&mutex_);
  return open_.size();
}

void LocalDirectory::Release(OpenId id) {
  absl::MutexLock lock(&mutex_);
  open_.erase(id);
  std::erase_if(held_, [id](const Held& held) { return held.through == id; });
  WakeWaiting();
}

ino_t LocalDirectory::InodeOf(OpenId id) const {
  struct stat status;
  return ::fstat(OpenFd(id), &status) == 0 ? status.st_ino : 0;
}

LockRange LocalDirectory::GetLock(OpenId id, const LockRange& range, bool flock) {
  const ino_t ino = InodeOf(id);
  absl::MutexLock lock(&mutex_);
  const Held* conflict = FindConflict({ino, id, range, flock});
  if (conflict != nullptr) return conflict->range;
  LockRange none = range;
  none.type = wire::LockType::kUnlock;
  return none;
}

const LocalDirectory::Held* LocalDirectory::FindConflict(const Held& wanted) const {
  if (wanted.range.type == wire::LockType::kUnlock) return nullptr;
  for (const Held& held : held_) {
    if (held.ino == wanted.ino && held.flock == wanted.flock &&
        held.range.owner != wanted.range.owner && Overlap(held.range, wanted.range) &&
        (held.range.type == wire::LockType::kWrite ||
         wanted.range.type == wire::LockType::kWrite)) {
      return &held;
    }
  }
  return nullptr;
}

void LocalDirectory::Apply(const Held& held) {
  std::erase_if(held_, [&](const Held& other) {
    return other.ino == held.ino && other.flock == held.flock &&
           other.range.owner == held.range.owner && Overlap(other.range, held.range);
  });
  if (held.range.type != wire::LockType::kUnlock) held_.push_back(held);
  WakeWaiting();
}

void LocalDirectory::Finish(Waiting waiting, Errno error) {
  EventLoop* loop = waiting.loop;
  loop->Post(
      [reply = std::move(waiting.reply), error]() mutable { reply.Complete(ToResult(error)); });
}

void LocalDirectory::WakeWaiting() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (FindConflict(it->held) != nullptr) {
      ++it;
      continue;
    }
    held_.push_back(it->held);
    Finish(std::move(*it), kOk);
    it = waiting_.erase(it);
  }
}

CancelToken LocalDirectory::SetLock(EventLoop& loop, OpenId id, const LockRange& range,
                                    uint32_t flags, Reply<Unit> reply) {
  const Held wanted{InodeOf(id), id, range, (flags & wire::kLockFlock) != 0};
  Errno error;
  {
    absl::MutexLock lock(&mutex_);
    if (FindConflict(wanted) == nullptr) {
      Apply(wanted);
    } else if ((flags & wire::kLockWait) != 0) {
      waiting_.push_back({next_token_, wanted, &loop, std::move(reply)});
      return next_token_++;
    } else {
      error = Errno(EAGAIN);
    }
  }
  reply.Complete(ToResult(error));
  return 0;
}

void LocalDirectory::CancelLock(CancelToken token) {
  absl::MutexLock lock(&mutex_);
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (it->token != token) continue;
    Finish(std::move(*it), Errno(EINTR));
    waiting_.erase(it);
    return;
  }
}

void LocalDirectory::ReleaseOwner(OpenId id, uint64_t owner) {
  const ino_t ino = InodeOf(id);
  absl::MutexLock lock(&mutex_);
  std::erase_if(held_, [&](const Held& held) {
    return held.ino == ino && !held.flock && held.range.owner == owner;
  });
  WakeWaiting();
}

}  // namespace rdmafs
