// Opcodes, and the body of every request and reply. docs/protocol.md has a row for each; a test
// compares the two. Opcode numbers are never reused.
#pragma once

#include "transport/wire/codec.h"

namespace rdmafs::wire {

enum class Opcode : uint16_t {
  kHello = 1,
  kAttach = 2,
  kPing = 3,
  kRetire = 4,
  kEnd = 5,
  kChallenge = 6,
  kProve = 7,
  kRecall = 8,
  kLookup = 10,
  kGetAttr = 11,
  kSetAttr = 12,
  kReadLink = 13,
  kMkNod = 14,
  kMkDir = 15,
  kUnlink = 16,
  kRmDir = 17,
  kSymLink = 18,
  kRename = 19,
  kLink = 20,
  kAccess = 21,
  kStatFs = 22,
  kOpen = 30,
  kCreate = 31,
  kTmpFile = 32,
  kRelease = 33,
  kRead = 34,
  kWrite = 35,
  kFsync = 36,
  kFallocate = 37,
  kSeek = 38,
  kCopyFileRange = 39,
  kReadDir = 40,
  kSyncFs = 41,
  kGetXattr = 50,
  kSetXattr = 51,
  kListXattr = 52,
  kRemoveXattr = 53,
  kGetLock = 60,
  kSetLock = 61,
  kCancel = 62,
  kReleaseOwner = 63,
  kForget = 70,
};
// "LOOKUP"; nullptr for a number that names no operation.
const char* OpcodeName(Opcode opcode);
// All of them, in the order of their numbers.
absl::Span<const Opcode> AllOpcodes();

// --- Connection set-up -----------------------------------------------------------------------------

struct HelloRequest {  // the first message of every connection, in the set-up slot
  static constexpr Opcode kOpcode = Opcode::kHello;
  struct {
    uint32_t magic;
    uint16_t version;
    uint16_t channel;        // this connection's number in its session
    uint32_t max_payload;
    uint32_t epoch;          // counts the client's attempts: of two hellos the later one counts
    uint64_t session[2];     // of a session to join; both 0: a new one
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
struct HelloReply {
  struct {
    uint32_t version;
    uint32_t max_payload;
    uint64_t session[2];
    uint64_t server[2];      // of this server process
    uint64_t boot[2];        // the server host's boot id: the write verifier
    uint32_t lease_ms;
    uint32_t reserved;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};

// Instead of HELLO, where the two sides prove to each other that they have a key: see transport/auth. In the
// set-up slot, both of a size that never changes.
inline constexpr size_t kNonceBytes = 32;
inline constexpr size_t kProofBytes = 32;
inline constexpr size_t kPublicKeyBytes = 32;  // X25519
inline constexpr size_t kMaxKeyNameBytes = 64;
enum Mechanism : uint32_t {
  kMechanismKey = 1,   // a key that both sides know by its name
  kMechanismJoin = 2,  // one more connection of a session that was begun with a key
};
struct ChallengeRequest {
  static constexpr Opcode kOpcode = Opcode::kChallenge;
  struct {
    uint32_t magic;  // from here on HELLO's fields
    uint16_t version;
    uint16_t channel;
    uint32_t max_payload;
    uint32_t epoch;
    uint64_t session[2];
    uint32_t mechanism;  // Mechanism
    uint32_t reserved;
    std::array<uint8_t, kNonceBytes> nonce;
    std::array<uint8_t, kPublicKeyBytes> public_key;  // kMechanismKey; else 0
    std::array<char, kMaxKeyNameBytes> key_name;      // kMechanismKey; filled up with 0
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
enum ChallengeFlags : uint32_t {
  kChallengeKnowsSession = 1 << 0,  // the proofs are of the session's secret, too
};
struct ChallengeReply {
  struct {
    uint32_t version;
    uint32_t flags;  // ChallengeFlags
    std::array<uint8_t, kNonceBytes> nonce;
    std::array<uint8_t, kPublicKeyBytes> public_key;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
struct ProveRequest {
  static constexpr Opcode kOpcode = Opcode::kProve;
  std::array<uint8_t, kProofBytes> proof{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(proof);
  }
};
struct ProveReply {
  HelloReply hello;
  std::array<uint8_t, kProofBytes> proof{};
  template <typename C>
  bool Code(C& c) {
    return hello.Code(c) && c.Fixed(proof);
  }
};
struct AttachRequest {  // inline payload: the path to mount, absolute
  static constexpr Opcode kOpcode = Opcode::kAttach;
  Caller caller;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller);
  }
};
struct PingRequest {  // answered by the server's shard itself, however busy its workers are
  static constexpr Opcode kOpcode = Opcode::kPing;
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
struct RetireRequest {  // the client gave the slot's last call up; answered when it does not run any more
  static constexpr Opcode kOpcode = Opcode::kRetire;
  uint32_t slot = 0;
  uint32_t sequence = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(slot) && c.Fixed(sequence);
  }
};
struct EndRequest {  // the client goes: its session ends with its connections, and is not kept for it
  static constexpr Opcode kOpcode = Opcode::kEnd;
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
// What became of a call that was sent in a session which is over. Reply: RecallReply, and as inline payload the
// body that the call was answered with, if it was.
struct RecallRequest {
  static constexpr Opcode kOpcode = Opcode::kRecall;
  struct {
    uint64_t session[2];
    uint32_t slot;
    uint32_t sequence;
    uint32_t opcode;
    uint32_t reserved;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
enum class RecallFate : uint32_t {
  kNeverBegun = 0,  // and it never will be: it can be sent anew
  kDone = 1,        // `status` and the payload are its answer
};
struct RecallReply {
  RecallFate fate{};
  uint32_t status = 0;  // errno(3)
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fate) && c.Fixed(status);
  }
};
enum AttachFlags : uint32_t {
  kAttachReadOnly = 1 << 0,
  kAttachWantsForget = 1 << 1,  // the store keeps a table of objects: say Forget when one is not needed
};

// --- Bodies that several operations share ----------------------------------------------------------

struct EmptyBody {
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
struct EntryReply {  // Lookup, MkNod, MkDir, SymLink, Link, Create, TmpFile, Attach
  Attributes attributes{};
  uint32_t flags = 0;  // AttachFlags for Attach, else 0
  uint32_t reserved = 0;
  FileHandle handle;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(attributes) && c.Fixed(flags) && c.Fixed(reserved) && c.Handle(handle);
  }
};
struct AttributesReply {  // GetAttr, SetAttr, Open
  Attributes attributes{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(attributes);
  }
};
struct CountReply {  // Write, CopyFileRange: bytes done. Seek: the offset. Get/ListXattr of size 0: the size
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

// --- Names and attributes --------------------------------------------------------------------------

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

// --- Open files and directories --------------------------------------------------------------------

enum OpenOptions : uint32_t {
  kOpenKillSuidGid = 1 << 0,  // with O_TRUNC
  kOpenAgain = 1 << 1,        // it was open in a session that is over: its owner need not have the right any more
};
struct OpenRequest {
  static constexpr Opcode kOpcode = Opcode::kOpen;
  Caller caller;
  FileHandle handle;
  OpenId open_id = 0;
  uint32_t flags = 0;    // O_* of open(2), O_DIRECTORY for a directory; no O_CREAT, O_EXCL
  uint32_t options = 0;  // OpenOptions
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Fixed(open_id) && c.Fixed(flags) &&
           c.Fixed(options);
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
// Reply: up to kMaxInlineBytes asked for: inline payload; else into the sink, remote_size bytes. Fewer
// than asked for only at the end of the file.
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
    return c.Fixed(open_id) && c.Fixed(offset) && c.Fixed(size) && c.Fixed(options) && c.Fixed(uid) &&
           c.Fixed(gid);
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

// --- Extended attributes ---------------------------------------------------------------------------

// Reply of Get and List: size 0: CountReply; up to kMaxInlineBytes: inline payload; else the sink.
struct GetXattrRequest {
  static constexpr Opcode kOpcode = Opcode::kGetXattr;
  Caller caller;
  FileHandle handle;
  std::string_view name;
  uint32_t size = 0;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller) && c.Handle(handle) && c.Bytes(name, kMaxNameBytes) && c.Fixed(size);
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

// --- Locks -----------------------------------------------------------------------------------------

template <Opcode kOp>
struct LockRequest {
  static constexpr Opcode kOpcode = kOp;
  OpenId open_id = 0;
  LockRange range{};
  uint32_t flags = 0;  // LockFlags
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(range) && c.Fixed(flags) && c.Fixed(reserved);
  }
};
using GetLockRequest = LockRequest<Opcode::kGetLock>;  // reply: LockReply, kUnlock when it could be had
using SetLockRequest = LockRequest<Opcode::kSetLock>;
struct LockReply {
  LockRange range{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(range);
  }
};
struct CancelRequest {  // of a waiting SetLock of this connection: that one then answers EINTR
  static constexpr Opcode kOpcode = Opcode::kCancel;
  uint32_t slot = 0;
  uint32_t sequence = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(slot) && c.Fixed(sequence);
  }
};
struct ReleaseOwnerRequest {  // close(2) by a process: its fcntl locks on the file go
  static constexpr Opcode kOpcode = Opcode::kReleaseOwner;
  OpenId open_id = 0;
  uint64_t owner = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(owner);
  }
};
struct ForgetRequest {  // a hint: the client no longer remembers the object (table stores free it)
  static constexpr Opcode kOpcode = Opcode::kForget;
  FileHandle handle;
  template <typename C>
  bool Code(C& c) {
    return c.Handle(handle);
  }
};

}  // namespace rdmafs::wire
