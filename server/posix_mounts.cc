#include "server/posix_mounts.h"

#include <fcntl.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "server/posix_calls.h"
#include "server/thread_credentials.h"

namespace rdmafs {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

Result<std::unique_ptr<PosixMount>> Describe(UniqueFd directory) {
  struct statx status;
  if (Errno error = StatFd(directory.get(), status); !error.ok()) return error;
  struct statfs system;
  if (fstatfs(directory.get(), &system) != 0) return LastErrno();
  auto mount = std::make_unique<PosixMount>();
  static_assert(sizeof system.f_fsid == sizeof mount->file_system);
  std::memcpy(&mount->file_system, &system.f_fsid, sizeof mount->file_system);
  mount->mount_id = MountIdOf(status);
  mount->device = DeviceOf(status);
  if (mount->file_system == 0) mount->file_system = mount->device;
  mount->memory = IsMemoryFileSystem(directory.get());
  mount->plain_names =
      std::all_of(std::begin(wire::kPlainNames), std::end(wire::kPlainNames),
                  [fd = directory.get()](const char* name) {
                    return fgetxattr(fd, name, nullptr, 0) >= 0 || errno == ENODATA;
                  });
  mount->fd = std::move(directory);
  return mount;
}

// mountinfo writes space, tab, newline and backslash as \040 and the like.
std::string Unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size();
    out +=
        octal
            ? static_cast<char>(std::strtol(std::string(text.substr(i + 1, 3)).c_str(), nullptr, 8))
            : text[i];
    if (octal) i += 3;
  }
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PosixMounts>> PosixMounts::Open(const std::string& path,
                                                               bool cross) {
  std::unique_ptr<char, decltype(&free)> real(realpath(path.c_str(), nullptr), &free);
  UniqueFd directory(real ? open(real.get(), kDirectoryFlags) : -1);
  if (!directory.valid())
    return absl::NotFoundError(absl::StrCat(path, ": ", LastErrno().ToString()));
  auto root = Describe(std::move(directory));
  if (!root.ok()) return absl::InternalError(absl::StrCat(path, ": ", root.error().ToString()));
  std::unique_ptr<PosixMounts> mounts(new PosixMounts(real.get(), cross));
  mounts->root_ = std::move(*root);
  return mounts;
}

Result<const PosixMount*> PosixMounts::Of(uint64_t mount_id, int fd) {
  if (mount_id == root_->mount_id) return root_.get();
  if (!cross_) return Errno(EXDEV);
  {
    absl::ReaderMutexLock lock(&mutex_);
    for (const auto& mount : mounts_) {
      if (mount->mount_id == mount_id) return mount.get();
    }
  }
  ThreadCredentials::ServerScope as_server;
  UniqueFd directory(open(ProcName(fd).path(), kDirectoryFlags));
  // A single file may be a mount, too; there is no directory to name its objects by.
  if (!directory.valid()) return Errno(EXDEV);
  return Add(directory.release());
}

Result<const PosixMount*> PosixMounts::Add(int directory) {
  auto mount = Describe(UniqueFd(directory));
  if (!mount.ok()) return mount.error();
  absl::MutexLock lock(&mutex_);
  for (const auto& known : mounts_) {
    if (known->mount_id == (*mount)->mount_id) return known.get();
  }
  if (mounts_.size() >= kMaxMounts) return Errno(EXDEV);
  mounts_.push_back(std::move(*mount));
  return mounts_.back().get();
}

const PosixMount* PosixMounts::FindLocked(uint64_t file_system) const {
  for (const auto& mount : mounts_) {
    if (mount->file_system == file_system) return mount.get();
  }
  return nullptr;
}

const PosixMount* PosixMounts::FindFileSystem(uint64_t file_system) {
  if (file_system == root_->file_system) return root_.get();
  if (!cross_) return nullptr;
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (const PosixMount* found = FindLocked(file_system)) return found;
  }
  ScanMountTable();
  absl::ReaderMutexLock lock(&mutex_);
  return FindLocked(file_system);
}

void PosixMounts::ScanMountTable() {
  ThreadCredentials::ServerScope as_server;
  std::ifstream table("/proc/self/mountinfo");
  const std::string below = path_ == "/" ? "/" : path_ + "/";
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    if (!(fields >> id >> parent >> device >> root >> point)) continue;
    point = Unescape(point);
    if (!point.starts_with(below)) continue;
    UniqueFd directory(open(point.c_str(), kDirectoryFlags | O_NOFOLLOW));
    if (directory.valid()) (void)Add(directory.release());
  }
}

}  // namespace rdmafs
