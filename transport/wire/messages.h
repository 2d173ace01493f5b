// The body of every request and reply: those of files here, the others in the headers below.
// docs/protocol.md has a row for each operation; a test compares the two.
#pragma once

#include "transport/wire/lock_messages.h"
#include "transport/wire/opcode.h"
#include "transport/wire/session_messages.h"

namespace rdmafs::wire {

// --- Bodies that several operations share ---

struct EmptyBody {
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
struct EntryReply {  // Lookup, TmpFile, Attach
  Attributes attributes{};
  uint32_t flags = 0;  // AttachFlags for Attach, else 0
  uint32_t reserved = 0;
  FileHandle handle;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(attributes) && c.Fixed(flags) && c.Fixed(reserved) && c.Handle(handle);
  }
};
// What changes the names in a directory also says what the directory is like then, but not in an
// answer that was kept.
struct NamesReply {     // Unlink, RmDir, Rename
  Attributes parent{};  // Rename: that of the new name
  template <typename C>
  bool Code(C& c) {
    return c.FixedIfMore(parent);
  }
};
struct MadeReply {  // MkNod, MkDir, SymLink, Link, Create
  EntryReply entry;
  Attributes parent{};
  template <typename C>
  bool Code(C& c) {
    return entry.Code(c) && c.FixedIfMore(parent);
  }
};
struct AttributesReply {  // GetAttr, SetAttr, Open
  Attributes attributes{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(attributes);
  }
};
// Write, CopyFileRange: bytes done. Seek: the offset. Get/ListXattr of size 0: the size.
struct CountReply {
  uint64_t count = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(count);
  }
};
template <Opcode kOp>
struct NameRequest {  // caller, directory, name
  static constexpr Opcode kOpcode = kOp;
  Caller caller;
  FileHandle parent;
  std::string_view name;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Name(name);
  }
};
template <Opcode kOp>
struct HandleRequest {  // caller, object
  static constexpr Opcode kOpcode = kOp;
  Caller caller;
  FileHandle handle;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle);
  }
};

// --- Names and attributes ---

using LookupRequest = NameRequest<Opcode::kLookup>;
using UnlinkRequest = NameRequest<Opcode::kUnlink>;
using RmDirRequest = NameRequest<Opcode::kRmDir>;
using ReadLinkRequest = HandleRequest<Opcode::kReadLink>;  // reply: inline payload is the target
using StatFsRequest = HandleRequest<Opcode::kStatFs>;      // reply: StatFsReply
using SyncFsRequest = HandleRequest<Opcode::kSyncFs>;

struct GetAttrRequest {
  static constexpr Opcode kOpcode = Opcode::kGetAttr;
  Caller caller;
  FileHandle handle;
  OpenId open_id = 0;  // of that object, or 0
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(open_id);
  }
};
struct SetAttrRequest {
  static constexpr Opcode kOpcode = Opcode::kSetAttr;
  Caller caller;
  FileHandle handle;
  OpenId open_id = 0;  // ftruncate(2) and the like work by it, whatever the mode says now
  SetAttributes changes{};
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(open_id) && c.Fixed(changes);
  }
};
struct MkNodRequest {
  static constexpr Opcode kOpcode = Opcode::kMkNod;
  Caller caller;
  FileHandle parent;
  std::string_view name;
  uint32_t mode = 0, rdev_major = 0, rdev_minor = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Name(name) && c.Fixed(mode) &&
           c.Fixed(rdev_major) && c.Fixed(rdev_minor);
  }
};
struct MkDirRequest {
  static constexpr Opcode kOpcode = Opcode::kMkDir;
  Caller caller;
  FileHandle parent;
  std::string_view name;
  uint32_t mode = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Name(name) && c.Fixed(mode);
  }
};
using SymLinkRequest = NameRequest<Opcode::kSymLink>;  // inline payload: the target
struct RenameRequest {
  static constexpr Opcode kOpcode = Opcode::kRename;
  Caller caller;
  FileHandle parent;
  std::string_view name;
  FileHandle new_parent;
  std::string_view new_name;
  uint32_t flags = 0;  // RENAME_* of rename(2)
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Name(name) && c.Handle(new_parent) &&
           c.Name(new_name) && c.Fixed(flags);
  }
};
struct LinkRequest {
  static constexpr Opcode kOpcode = Opcode::kLink;
  Caller caller;
  FileHandle handle;
  FileHandle new_parent;
  std::string_view new_name;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Handle(new_parent) && c.Name(new_name);
  }
};
struct AccessRequest {
  static constexpr Opcode kOpcode = Opcode::kAccess;
  Caller caller;
  FileHandle handle;
  uint32_t mask = 0;  // R_OK | W_OK | X_OK
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(mask);
  }
};
struct StatFsReply {
  FileSystemStatistics statistics{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(statistics);
  }
};

// --- Open files and directories ---

// Of the flags of OPEN, which are Linux's: it is for execution (FMODE_EXEC), and the right to
// execute is enough to read.
inline constexpr uint32_t kOpenForExecution = 0x20;
enum OpenOptions : uint32_t {
  kOpenKillSuidGid = 1 << 0,  // with O_TRUNC
  // It was open in a session that is over: its owner need not have the right any more.
  kOpenAgain = 1 << 1,
};
// Reply: AttributesReply; and with a read_size the first bytes of a file of that size or less, as
// READ's. No bytes when there are none, or they could not be read, or the answer was kept.
inline constexpr uint32_t kMaxOpenReadBytes = 64 << 10;
struct OpenRequest {
  static constexpr Opcode kOpcode = Opcode::kOpen;
  Caller caller;
  FileHandle handle;
  OpenId open_id = 0;
  uint32_t flags = 0;    // O_* of open(2), O_DIRECTORY for a directory; no O_CREAT, O_EXCL
  uint32_t options = 0;  // OpenOptions
  uint32_t read_size = 0;  // <= kMaxOpenReadBytes
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(open_id) && c.Fixed(flags) &&
           c.Fixed(options) && c.Fixed(read_size);
  }
};
struct CreateRequest {
  static constexpr Opcode kOpcode = Opcode::kCreate;
  Caller caller;
  FileHandle parent;
  std::string_view name;
  OpenId open_id = 0;
  uint32_t flags = 0, mode = 0;
  uint32_t options = 0, reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Name(name) && c.Fixed(open_id) &&
           c.Fixed(flags) && c.Fixed(mode) && c.Fixed(options) && c.Fixed(reserved);
  }
};
struct TmpFileRequest {
  static constexpr Opcode kOpcode = Opcode::kTmpFile;
  Caller caller;
  FileHandle parent;
  OpenId open_id = 0;
  uint32_t flags = 0, mode = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(parent) && c.Fixed(open_id) && c.Fixed(flags) &&
           c.Fixed(mode);
  }
};
struct ReleaseRequest {  // drops the locks taken through it, too
  static constexpr Opcode kOpcode = Opcode::kRelease;
  OpenId open_id = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id);
  }
};
// Reply: up to kMaxInlineBytes asked for: inline payload; else into the sink, remote_size bytes.
// Fewer than asked for only at the end of the file.
struct ReadRequest {
  static constexpr Opcode kOpcode = Opcode::kRead;
  OpenId open_id = 0;
  uint64_t offset = 0;
  uint32_t size = 0;
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(offset) && c.Fixed(size) && c.Fixed(reserved);
  }
};
enum WriteOptions : uint32_t { kWriteKillSuidGid = 1 << 0 };
struct WriteRequest {  // the data: inline payload or source. Reply: CountReply
  static constexpr Opcode kOpcode = Opcode::kWrite;
  OpenId open_id = 0;
  uint64_t offset = 0;  // ignored for a file that was opened with O_APPEND
  uint32_t size = 0;
  uint32_t options = 0;  // WriteOptions
  uint32_t uid = 0, gid = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(offset) && c.Fixed(size) && c.Fixed(options) &&
           c.Fixed(uid) && c.Fixed(gid);
  }
};
struct FsyncRequest {
  static constexpr Opcode kOpcode = Opcode::kFsync;
  OpenId open_id = 0;  // of a file or a directory
  uint32_t data_only = 0;
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(data_only) && c.Fixed(reserved);
  }
};
struct FallocateRequest {
  static constexpr Opcode kOpcode = Opcode::kFallocate;
  Caller caller;
  OpenId open_id = 0;
  uint64_t offset = 0, length = 0;
  uint32_t mode = 0;  // FALLOC_FL_*
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Fixed(open_id) && c.Fixed(offset) && c.Fixed(length) &&
           c.Fixed(mode) && c.Fixed(reserved);
  }
};
struct SeekRequest {
  static constexpr Opcode kOpcode = Opcode::kSeek;
  OpenId open_id = 0;
  uint64_t offset = 0;
  uint32_t whence = 0;  // SEEK_DATA or SEEK_HOLE
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(offset) && c.Fixed(whence) && c.Fixed(reserved);
  }
};
struct CopyFileRangeRequest {
  static constexpr Opcode kOpcode = Opcode::kCopyFileRange;
  Caller caller;
  OpenId in_id = 0;
  uint64_t in_offset = 0;
  OpenId out_id = 0;
  uint64_t out_offset = 0;
  uint64_t length = 0;
  uint64_t flags = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Fixed(in_id) && c.Fixed(in_offset) && c.Fixed(out_id) &&
           c.Fixed(out_offset) && c.Fixed(length) && c.Fixed(flags);
  }
};
enum ReadDirOptions : uint32_t { kReadDirPlus = 1 << 0 };
struct ReadDirRequest {  // sink: DirentHeader records, remote_size bytes; 0 bytes: the end
  static constexpr Opcode kOpcode = Opcode::kReadDir;
  Caller caller;
  OpenId open_id = 0;
  uint64_t cookie = 0;   // 0: the beginning; else an entry's next_cookie
  uint32_t size = 0;     // bytes of records at most, <= the sink's
  uint32_t options = 0;  // ReadDirOptions
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Fixed(open_id) && c.Fixed(cookie) && c.Fixed(size) &&
           c.Fixed(options);
  }
};

// --- Extended attributes ---

// Reply of Get and List: size 0: CountReply; up to kMaxInlineBytes: inline payload; else the sink.
struct GetXattrRequest {
  static constexpr Opcode kOpcode = Opcode::kGetXattr;
  Caller caller;
  FileHandle handle;
  std::string_view name;
  uint32_t size = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Bytes(name, kMaxNameBytes) &&
           c.Fixed(size);
  }
};
enum SetXattrOptions : uint32_t { kSetXattrAclKillSgid = 1 << 0 };
struct SetXattrRequest {  // the value: inline payload or source
  static constexpr Opcode kOpcode = Opcode::kSetXattr;
  Caller caller;
  FileHandle handle;
  std::string_view name;
  uint32_t flags = 0;    // XATTR_* of setxattr(2)
  uint32_t options = 0;  // SetXattrOptions
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Bytes(name, kMaxNameBytes) &&
           c.Fixed(flags) && c.Fixed(options);
  }
};
struct ListXattrRequest {
  static constexpr Opcode kOpcode = Opcode::kListXattr;
  Caller caller;
  FileHandle handle;
  uint32_t size = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(size);
  }
};
struct RemoveXattrRequest {
  static constexpr Opcode kOpcode = Opcode::kRemoveXattr;
  Caller caller;
  FileHandle handle;
  std::string_view name;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Bytes(name, kMaxNameBytes);
  }
};

}  // namespace rdmafs::wire
