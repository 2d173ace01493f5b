// PosixOpenDirectory: an open directory of the posix store, and its reader.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/posix_objects.h"
#include "server/store.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// Thread-safe: readers take turns. Cookies are the file system's own (d_off), so they stay good
// while entries come and go, in another open directory and, on disk file systems, after a restart.
class PosixOpenDirectory final : public OpenFile {
 public:
  // `objects` must outlive it.
  PosixOpenDirectory(UniqueFd fd, uint32_t flags, const wire::FileHandle& handle, FileId id,
                     PosixObjects& objects)
      : fd_(std::move(fd)), flags_(flags), handle_(handle), id_(id), objects_(objects) {}

  const wire::FileHandle& handle() const override { return handle_; }
  FileId id() const override { return id_; }
  uint32_t flags() const override { return flags_; }
  int fd() const override { return -1; }
  Result<uint64_t> ReadNoWait(absl::Span<std::byte>, uint64_t) override { return Errno(EISDIR); }
  Result<uint64_t> WriteNoWait(absl::Span<const iovec>, uint64_t) override { return Errno(EBADF); }
  Result<uint64_t> Read(absl::Span<std::byte>, uint64_t) override { return Errno(EISDIR); }
  Result<uint64_t> Write(absl::Span<const iovec>, uint64_t, bool, const Identity&) override {
    return Errno(EBADF);
  }
  Errno Fsync(bool data_only) override;
  Errno Fallocate(const Identity&, uint64_t, uint64_t, uint32_t) override { return Errno(EBADF); }
  Result<uint64_t> Seek(uint64_t, uint32_t) override { return Errno(EINVAL); }
  Result<uint64_t> CopyRange(const Identity&, uint64_t, OpenFile&, uint64_t, uint64_t) override {
    return Errno(EISDIR);
  }
  Result<uint64_t> ReadDir(const Identity&, uint64_t cookie, bool plus,
                           absl::Span<std::byte> into) override;

 private:
  struct KernelEntry;  // linux_dirent64
  // Appends one record; false when there is no room.
  bool Append(const KernelEntry& entry, std::string_view name, bool plus,
              absl::Span<std::byte> into, uint64_t& used);
  // Appends that there is no more, which the next call would say else.
  void AppendEnd(absl::Span<std::byte> into, uint64_t& used) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const UniqueFd fd_;
  const uint32_t flags_;
  const wire::FileHandle handle_;
  const FileId id_;
  PosixObjects& objects_;
  absl::Mutex mutex_;
  uint64_t position_ ABSL_GUARDED_BY(mutex_) = 0;  // the cookie that the descriptor stands at
};

}  // namespace rdmafs
