// Store: the seam between the server and what keeps the files. posix now; an in-memory one for
// tests; a distributed engine's library fits the same interface.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "transport/base/errno.h"
#include "transport/wire/messages.h"

namespace rdmafs {

// Who a call is made as, after squashing. Groups live as long as the call.
struct Identity {
  uint32_t uid = 0, gid = 0;
  uint32_t umask = 0;
  absl::Span<const uint32_t> groups;
};

struct StoreEntry {
  wire::Attributes attributes{};
  wire::FileHandle handle;
};

// An open file or directory. Thread-safe; shared by the calls that use it. Closed with the last
// reference.
class OpenFile {
 public:
  virtual ~OpenFile() = default;
  virtual const wire::FileHandle& handle() const = 0;
  // (st_dev, st_ino): what locks are kept by.
  struct FileId {
    uint64_t device, inode;
    friend bool operator==(const FileId&, const FileId&) = default;
  };
  virtual FileId id() const = 0;
  virtual uint32_t flags() const = 0;  // O_* it was opened with
  // A descriptor that io_uring may read and write, or -1.
  virtual int fd() const = 0;

  // At once or EAGAIN when it would have to wait for the disk: for the shard's thread. Short only
  // at the end of the file.
  virtual Result<uint64_t> ReadNoWait(absl::Span<std::byte> into, uint64_t offset) = 0;
  // Whether no write to fd() waits for a disk.
  virtual bool WritesNeverWait() const { return false; }
  // Whether all of these bytes are there, and in memory, as far as one can tell without reading
  // them: sendfile(2) from fd() would not wait. For the shard's thread.
  virtual bool InMemory(uint64_t, uint64_t) { return false; }
  // EAGAIN when it might wait, or when the caller's identity decides (space, quota): Write() then.
  // May write less than given without an error: Write() goes on behind it. iov as for pwritev(2), 1
  // or 2 pieces. O_APPEND files ignore the offset.
  virtual Result<uint64_t> WriteNoWait(absl::Span<const iovec> pieces, uint64_t offset) = 0;
  // These block: worker threads only. Short reads only at the end of the file.
  virtual Result<uint64_t> Read(absl::Span<std::byte> into, uint64_t offset) = 0;
  // As `identity` when kill_suid_gid: suid, and sgid of a group-executable file, are cleared.
  virtual Result<uint64_t> Write(absl::Span<const iovec> pieces, uint64_t offset,
                                 bool kill_suid_gid, const Identity& identity) = 0;
  virtual Errno Fsync(bool data_only) = 0;
  virtual Errno Fallocate(const Identity&, uint64_t offset, uint64_t length, uint32_t mode) = 0;
  virtual Result<uint64_t> Seek(uint64_t offset, uint32_t whence) = 0;
  // `out` is of the same store.
  virtual Result<uint64_t> CopyRange(const Identity&, uint64_t offset, OpenFile& out,
                                     uint64_t out_offset, uint64_t length) = 0;
  // Fills `into` with wire::DirentHeader records from `cookie` on ("." and ".." among them, without
  // attributes); returns the bytes, 0 at the end (which kDirentEnd may have said before); EINVAL
  // when not even one fits. An entry that is gone before its attributes could be read has none
  // (kDirentAttributes unset).
  virtual Result<uint64_t> ReadDir(const Identity&, uint64_t cookie, bool plus,
                                   absl::Span<std::byte> into) = 0;
};

// The files below one exported directory. Thread-safe. Every method blocks: worker threads only.
// Each runs under `identity` as a local process with these ids would. ESTALE: the object is gone,
// or the export is; EBADF (a forged or foreign handle) is the peer's fault and ends its connection.
class Store {
 public:
  virtual ~Store() = default;

  // The directory `path` below the export ("" is the export itself), without following symlinks
  // out.
  virtual Result<StoreEntry> Attach(const Identity&, std::string_view path) = 0;

  virtual Result<StoreEntry> Lookup(const Identity&, const wire::FileHandle& parent,
                                    std::string_view name) = 0;
  // What `name` stands for, without looking at it closer: a name that no other object ever has, to
  // be compared with other answers of this. ENOENT: nothing.
  virtual Result<wire::FileHandle> Identify(const Identity&, const wire::FileHandle& parent,
                                            std::string_view name) = 0;
  virtual void Forget(const wire::FileHandle&) = 0;
  // `open`: that object opened, or nullptr.
  virtual Result<wire::Attributes> GetAttr(const Identity&, const wire::FileHandle&,
                                           OpenFile* open) = 0;
  virtual Result<wire::Attributes> SetAttr(const Identity&, const wire::FileHandle&, OpenFile* open,
                                           const wire::SetAttributes&) = 0;
  virtual Result<std::string> ReadLink(const Identity&, const wire::FileHandle&) = 0;
  virtual Result<StoreEntry> MkNod(const Identity&, const wire::FileHandle& parent,
                                   std::string_view name, uint32_t mode, uint32_t rdev_major,
                                   uint32_t rdev_minor) = 0;
  virtual Result<StoreEntry> MkDir(const Identity&, const wire::FileHandle& parent,
                                   std::string_view name, uint32_t mode) = 0;
  virtual Errno Unlink(const Identity&, const wire::FileHandle& parent, std::string_view name) = 0;
  virtual Errno RmDir(const Identity&, const wire::FileHandle& parent, std::string_view name) = 0;
  virtual Result<StoreEntry> SymLink(const Identity&, const wire::FileHandle& parent,
                                     std::string_view name, std::string_view target) = 0;
  virtual Errno Rename(const Identity&, const wire::FileHandle& parent, std::string_view name,
                       const wire::FileHandle& new_parent, std::string_view new_name,
                       uint32_t flags) = 0;
  virtual Result<StoreEntry> Link(const Identity&, const wire::FileHandle&,
                                  const wire::FileHandle& new_parent,
                                  std::string_view new_name) = 0;
  virtual Errno Access(const Identity&, const wire::FileHandle&, uint32_t mask) = 0;
  virtual Result<wire::FileSystemStatistics> StatFs(const Identity&, const wire::FileHandle&) = 0;
  virtual Errno SyncFs(const wire::FileHandle&) = 0;

  struct Opened {
    std::shared_ptr<OpenFile> file;
    StoreEntry entry;
  };
  // flags: O_*; O_CREAT and O_EXCL are Create's. `kill_suid_gid` counts with O_TRUNC.
  virtual Result<Opened> Open(const Identity&, const wire::FileHandle&, uint32_t flags,
                              bool kill_suid_gid) = 0;
  virtual Result<Opened> Create(const Identity&, const wire::FileHandle& parent,
                                std::string_view name, uint32_t flags, uint32_t mode,
                                bool kill_suid_gid) = 0;
  virtual Result<Opened> TmpFile(const Identity&, const wire::FileHandle& parent, uint32_t flags,
                                 uint32_t mode) = 0;

  // size 0 asks for the size. trusted.* is for uid 0 only.
  virtual Result<uint64_t> GetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                                    absl::Span<std::byte> into) = 0;
  virtual Result<uint64_t> ListXattr(const Identity&, const wire::FileHandle&,
                                     absl::Span<std::byte> into) = 0;
  virtual Errno SetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                         std::string_view value, uint32_t flags, bool acl_kill_sgid) = 0;
  virtual Errno RemoveXattr(const Identity&, const wire::FileHandle&, std::string_view name) = 0;
};

}  // namespace rdmafs
