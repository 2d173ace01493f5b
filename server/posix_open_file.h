// PosixOpenFile: an open regular file of the posix store.
#pragma once

#include <atomic>

#include "server/store.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// Thread-safe: positions are arguments, the kernel does the rest.
class PosixOpenFile final : public OpenFile {
 public:
  // `flags` as the client asked; the descriptor may allow more (reading).
  PosixOpenFile(UniqueFd fd, uint32_t flags, const wire::FileHandle& handle, FileId id);

  const wire::FileHandle& handle() const override { return handle_; }
  FileId id() const override { return id_; }
  uint32_t flags() const override { return flags_; }
  int fd() const override { return fd_.get(); }
  Result<uint64_t> ReadNoWait(absl::Span<std::byte> into, uint64_t offset) override;
  bool WritesNeverWait() const override { return memory_; }
  bool InMemory(uint64_t offset, uint64_t size) override;
  Result<uint64_t> WriteNoWait(absl::Span<const iovec> pieces, uint64_t offset) override;
  Result<uint64_t> Read(absl::Span<std::byte> into, uint64_t offset) override;
  Result<uint64_t> Write(absl::Span<const iovec> pieces, uint64_t offset, bool kill_suid_gid,
                         const Identity& identity) override;
  Errno Fsync(bool data_only) override;
  Errno Fallocate(const Identity&, uint64_t offset, uint64_t length, uint32_t mode) override;
  Result<uint64_t> Seek(uint64_t offset, uint32_t whence) override;
  Result<uint64_t> CopyRange(const Identity&, uint64_t offset, OpenFile& out, uint64_t out_offset,
                             uint64_t length) override;
  Result<uint64_t> ReadDir(const Identity&, uint64_t cookie, bool plus,
                           absl::Span<std::byte> into) override;

 private:
  const UniqueFd fd_;
  const uint32_t flags_;
  const wire::FileHandle handle_;
  const FileId id_;
  const bool memory_;  // tmpfs, ramfs: nothing waits
  // Learnt from the first EOPNOTSUPP of RWF_NOWAIT.
  std::atomic<bool> may_read_no_wait_{true}, may_write_no_wait_{true};
};

}  // namespace rdmafs
