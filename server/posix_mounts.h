// PosixMounts: the mounted file systems below one export, by mount id and by the id that handles
// carry.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// A mount that is served. Lives as long as its PosixMounts.
struct PosixMount {
  UniqueFd fd;  // a directory of it, really open (open_by_handle_at(2) and syncfs(2) want that)
  uint64_t mount_id = 0;
  uint64_t file_system = 0;  // statfs(2)'s f_fsid, or the device when there is none
  uint64_t device = 0;
  bool memory = false;       // tmpfs or ramfs
  bool plain_names = false;  // it knows each of wire::kPlainNames
};

// Thread-safe. Mounts are only ever added, kMaxMounts at most.
class PosixMounts {
 public:
  static constexpr size_t kMaxMounts = 1024;

  // `path` is the export. Blocks.
  static absl::StatusOr<std::unique_ptr<PosixMounts>> Open(const std::string& path, bool cross);

  const PosixMount& root() const { return *root_; }
  // The mount of an object: EXDEV when it is another than the export's and mounts are not crossed.
  // A mount that is new is added through `fd`, an O_PATH descriptor in it.
  Result<const PosixMount*> Of(uint64_t mount_id, int fd);
  // nullptr when no such file system is mounted below the export.
  const PosixMount* FindFileSystem(uint64_t file_system);

 private:
  PosixMounts(std::string path, bool cross) : path_(std::move(path)), cross_(cross) {}
  const PosixMount* FindLocked(uint64_t file_system) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Result<const PosixMount*> Add(int directory);
  // After a restart handles may come before anyone walked into their mount.
  void ScanMountTable();

  const std::string path_;  // absolute, without symlinks
  const bool cross_;
  std::unique_ptr<PosixMount> root_;  // constant after Open()
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<PosixMount>> mounts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
