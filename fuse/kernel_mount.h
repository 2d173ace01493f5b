// KernelMount: a FUSE mount in the kernel, made and ended through libfuse.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

struct fuse_session;

namespace rdmafs::fuse {

// OK when `path` is a directory that can be mounted on; else one sentence that says why not.
absl::Status CheckMountPoint(const std::string& path);

// Owned by one thread.
class KernelMount {
 public:
  // `options`: as fuse(8) has them, "fsname=..." included. Root mounts by itself, others through
  // fusermount3, and for them suid and dev are left out. Blocks for as long as mount(2) does.
  static absl::StatusOr<std::unique_ptr<KernelMount>> Mount(const std::string& mount_point,
                                                            absl::Span<const std::string> options);
  ~KernelMount();
  KernelMount(const KernelMount&) = delete;
  KernelMount& operator=(const KernelMount&) = delete;

  // The device of the mount, non-blocking; a duplicate, so that it outlives this.
  absl::StatusOr<int> DuplicateDevice() const;

  // Takes the mount out of the tree at once, also when it is busy or gone already. Files that are
  // open on it still work as long as the device is served.
  void Unmount();

 private:
  explicit KernelMount(fuse_session* session) : session_(session) {}
  fuse_session* session_;
  bool mounted_ = true;
};

}  // namespace rdmafs::fuse
