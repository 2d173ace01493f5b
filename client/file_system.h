// FileSystem: the operations, each asynchronous. The seam between whoever asks (the FUSE loop, the
// library) and the stack of layers that ends in the remote file system.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/types/span.h"
#include "transport/base/reply.h"
#include "transport/connection.h"
#include "transport/memory/buffer_pool.h"
#include "transport/wire/messages.h"

namespace rdmafs {

using wire::Attributes;
using wire::Caller;
using wire::FileHandle;
using wire::FileSystemStatistics;
using wire::LockRange;
using wire::OpenId;
using wire::SetAttributes;

// An object that was found or made, and its handle.
struct Entry {
  Attributes attributes{};
  FileHandle handle;
  // Where it was made: the directory's then; of mode 0 when nobody says.
  Attributes parent{};
};

// Memory that an operation reads from or lands in. `hold` keeps it when it is a pool's; otherwise
// it is the asker's, who keeps it until the operation has completed, and says with `foreign` which
// range around it is registered as one.
struct PayloadMemory {
  absl::Span<std::byte> bytes;
  Buffer hold;
  absl::Span<std::byte> foreign;
  bool by_pipe = false;  // what lands may also come as a Payload::pipe
};

// Bytes that came back, and what keeps them: at the asker's memory, in a receive buffer (small
// payload), or in a layer's buffer. `bytes` is valid as long as this object is, on its shard's
// thread.
struct Payload {
  absl::Span<const std::byte> bytes;
  Buffer hold;
  ReceivedMessage message;
  // Where by_pipe allowed it: the bytes stand here, and not where `bytes` says, until the Reply's
  // function returns.
  PayloadPipe* pipe = nullptr;
};

struct ReadRequest {
  OpenId open_id = 0;
  uint64_t offset = 0;
  uint32_t size = 0;           // <= wire::kMaxPayloadBytes
  // At least `size` bytes; where the data lands unless it is small or cached. May be empty for a
  // size of at most wire::kMaxInlineBytes: then the data comes in the Payload's own memory.
  PayloadMemory destination;
};
// An opened file, and its data if they could be had at once.
struct OpenedFile {
  Attributes attributes{};
  Payload first;
};
struct WriteRequest {
  OpenId open_id = 0;
  uint64_t offset = 0;
  PayloadMemory source;        // all of it is written; <= wire::kMaxPayloadBytes
  uint32_t options = 0;        // wire::WriteOptions
  uint32_t uid = 0, gid = 0;
};
struct ReadDirRequest {
  OpenId open_id = 0;
  uint64_t cookie = 0;
  uint32_t options = 0;        // wire::ReadDirOptions
  PayloadMemory destination;   // records up to its size, each wire::DirentHeader
};
struct CopyFileRangeRequest {
  OpenId in_id = 0;
  uint64_t in_offset = 0;
  OpenId out_id = 0;
  uint64_t out_offset = 0;
  uint64_t length = 0;
};

// Lets a waiting SetLock be given up. 0: none.
using CancelToken = uint64_t;

// Owned by one shard thread: every method is called on it, never blocks, and its Reply completes on
// it, exactly once, sometimes before the method returns. References and views among the arguments
// are used before the method returns; Buffers are kept as long as they are needed. Errors are those
// the server's file system gave (the man page of the system call of the same name), and EIO,
// ETIMEDOUT, ESTALE, ENOTCONN of the way there. `caller` is whose permissions count; the open_id of
// an open file stands for the permissions it was opened with. All offsets and sizes are bytes.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual void Lookup(const Caller&, const FileHandle& parent, std::string_view name,
                      Reply<Entry>) = 0;
  // The object is no longer remembered by anyone on this side. A hint without an answer.
  virtual void Forget(const FileHandle&) = 0;
  // open_id: any open file of the object, or 0.
  virtual void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes>) = 0;
  virtual void SetAttr(const Caller&, const FileHandle&, OpenId, const SetAttributes&,
                       Reply<Attributes>) = 0;
  virtual void ReadLink(const Caller&, const FileHandle&, Reply<Payload>) = 0;
  // mode with file type; Caller::umask and default ACLs are applied by the server.
  virtual void MkNod(const Caller&, const FileHandle& parent, std::string_view name, uint32_t mode,
                     uint32_t rdev_major, uint32_t rdev_minor, Reply<Entry>) = 0;
  virtual void MkDir(const Caller&, const FileHandle& parent, std::string_view name, uint32_t mode,
                     Reply<Entry>) = 0;
  // Unlink's, RmDir's and Rename's reply is the directory's attributes then (Rename's: that of the
  // new name); of mode 0 when nobody says.
  virtual void Unlink(const Caller&, const FileHandle& parent, std::string_view name,
                      Reply<Attributes>) = 0;
  virtual void RmDir(const Caller&, const FileHandle& parent, std::string_view name,
                     Reply<Attributes>) = 0;
  virtual void SymLink(const Caller&, const FileHandle& parent, std::string_view name,
                       std::string_view target, Reply<Entry>) = 0;
  // flags: RENAME_NOREPLACE, RENAME_EXCHANGE of rename(2).
  virtual void Rename(const Caller&, const FileHandle& parent, std::string_view name,
                      const FileHandle& new_parent, std::string_view new_name, uint32_t flags,
                      Reply<Attributes>) = 0;
  virtual void Link(const Caller&, const FileHandle&, const FileHandle& new_parent,
                    std::string_view new_name, Reply<Entry>) = 0;
  virtual void Access(const Caller&, const FileHandle&, uint32_t mask, Reply<Unit>) = 0;
  virtual void StatFs(const Caller&, const FileHandle&, Reply<FileSystemStatistics>) = 0;
  virtual void SyncFs(const Caller&, const FileHandle&, Reply<Unit>) = 0;

  // Open, Create and TmpFile make `open_id` (see NewOpenId) name the open file until Release.
  // flags: O_*. Open's reply are the attributes after the open (and truncation).
  virtual OpenId NewOpenId() = 0;
  virtual void Open(const Caller&, const FileHandle&, OpenId, uint32_t flags, uint32_t options,
                    Reply<Attributes>) = 0;
  // The same with a read of a file's beginning in one round trip. first.size: at most
  // wire::kMaxOpenReadBytes. The bytes are as new as the attributes or newer; there are none when
  // the file is larger, and perhaps for other reasons.
  virtual void OpenAndRead(const Caller&, const FileHandle&, uint32_t flags, uint32_t options,
                           ReadRequest first, Reply<OpenedFile>) = 0;
  virtual void Create(const Caller&, const FileHandle& parent, std::string_view name, OpenId,
                      uint32_t flags, uint32_t mode, uint32_t options, Reply<Entry>) = 0;
  virtual void TmpFile(const Caller&, const FileHandle& parent, OpenId, uint32_t flags,
                       uint32_t mode, Reply<Entry>) = 0;
  // The last reference to the open file is gone; its locks go with it.
  virtual void Release(OpenId, Reply<Unit>) = 0;
  // Fewer bytes than asked for only at the end of the file.
  virtual void Read(ReadRequest, Reply<Payload>) = 0;
  // Bytes written; fewer than given only when the store wrote fewer.
  virtual void Write(WriteRequest, Reply<uint64_t>) = 0;
  virtual void Fsync(OpenId, bool data_only, Reply<Unit>) = 0;
  // mode: FALLOC_FL_* of fallocate(2).
  virtual void Fallocate(const Caller&, OpenId, uint64_t offset, uint64_t length, uint32_t mode,
                         Reply<Unit>) = 0;
  // whence: SEEK_DATA or SEEK_HOLE.
  virtual void Seek(OpenId, uint64_t offset, uint32_t whence, Reply<uint64_t>) = 0;
  virtual void CopyFileRange(const Caller&, const CopyFileRangeRequest&, Reply<uint64_t>) = 0;
  // The directory was opened with O_DIRECTORY. An empty payload: the end.
  virtual void ReadDir(const Caller&, ReadDirRequest, Reply<Payload>) = 0;

  // size 0 asks for the size alone: `payload` is empty then.
  struct XattrValue {
    Payload payload;
    uint64_t size = 0;
  };
  // destination: at least `size` bytes, used when `size` is more than wire::kMaxInlineBytes.
  virtual void GetXattr(const Caller&, const FileHandle&, std::string_view name, uint32_t size,
                        PayloadMemory destination, Reply<XattrValue>) = 0;
  virtual void ListXattr(const Caller&, const FileHandle&, uint32_t size, PayloadMemory destination,
                         Reply<XattrValue>) = 0;
  virtual void SetXattr(const Caller&, const FileHandle&, std::string_view name,
                        PayloadMemory value, uint32_t flags, uint32_t options, Reply<Unit>) = 0;
  virtual void RemoveXattr(const Caller&, const FileHandle&, std::string_view name,
                           Reply<Unit>) = 0;

  // flags: wire::LockFlags. The reply of GetLock has type kUnlock when the lock could be had.
  virtual void GetLock(OpenId, const LockRange&, uint32_t flags, Reply<LockRange>) = 0;
  // With kLockWait it may take for ever; CancelLock(token) makes it answer EINTR (or its success,
  // when that was under way). EAGAIN without kLockWait; EDEADLK for a cycle of fcntl locks. Returns
  // the token (0 when it completed already or cannot be cancelled).
  virtual CancelToken SetLock(OpenId, const LockRange&, uint32_t flags, Reply<Unit>) = 0;
  virtual void CancelLock(CancelToken) = 0;
  // An operation whose payload lies in `memory` and which waits for a lost server answers EINTR.
  // One that the server has is answered as ever.
  virtual void GiveUp(absl::Span<const std::byte> memory) = 0;
  // A process closed a descriptor of the file: its fcntl locks on it go.
  virtual void ReleaseOwner(OpenId, uint64_t owner, Reply<Unit>) = 0;
  // Whether ReleaseOwner() has something to say even when there are no locks: that acknowledged
  // writes were lost with the server's host.
  virtual bool HasLostWrites(OpenId) const { return false; }
};

}  // namespace rdmafs
