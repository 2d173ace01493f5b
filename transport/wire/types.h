// The values that requests and replies are made of: attributes, handles, callers, locks.
// Each fixed-width struct is the layout on the wire, too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "absl/types/span.h"
#include "transport/wire/header.h"

namespace rdmafs::wire {

// An opaque name of an object, minted by the server. Clients compare and return it, no more.
struct FileHandle {
  uint16_t size_bytes = 0;
  std::array<uint8_t, kMaxHandleBytes> bytes{};

  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes.data()), size_bytes};
  }
  friend bool operator==(const FileHandle& a, const FileHandle& b) { return a.view() == b.view(); }
};

// Names an open file or directory within its session. Chosen by the client, never 0, never reused.
using OpenId = uint64_t;

struct Attributes {
  uint64_t ino;
  uint64_t size;          // bytes
  uint64_t blocks;        // of 512 bytes
  int64_t atime_s, mtime_s, ctime_s;  // since the epoch
  uint32_t atime_ns, mtime_ns, ctime_ns;
  uint32_t mode;          // with the file type, inode(7)
  uint32_t nlink;
  uint32_t uid, gid;
  uint32_t rdev_major, rdev_minor;
  uint32_t blksize;
  uint32_t flags;  // AttributeFlags
  uint32_t reserved;
};
static_assert(sizeof(Attributes) == 96 && std::has_unique_object_representations_v<Attributes>);

enum AttributeFlags : uint32_t {
  // Changed so lately that the next change may leave the same times behind.
  kUnsettled = 1 << 0,
  // It has no extended attributes but of trusted.*: not those of kPlainNames either, which its file
  // system knows.
  kPlain = 1 << 1,
  // Nor those, which only root would be told of.
  kPlainToRoot = 1 << 2,
};

// What an object is asked for that has no extended attributes: by writes, by ls(1), by exec.
inline constexpr const char* kPlainNames[] = {"security.capability", "security.selinux",
                                              "system.posix_acl_access",
                                              "system.posix_acl_default"};

struct FileSystemStatistics {  // statvfs(3)
  uint64_t blocks, blocks_free, blocks_available;
  uint64_t files, files_free;
  uint32_t block_size, fragment_size;
  uint32_t name_max, flags;
};
static_assert(sizeof(FileSystemStatistics) == 56);

// On whose behalf a call is made. `groups` is a view (of the message, or of the asker's memory)
// that stands until the function that it was handed to has returned.
struct Caller {
  uint32_t uid = 0, gid = 0;
  uint32_t umask = 0;
  uint32_t pid = 0;  // as the client knows it; for fcntl(F_GETLK) and the log
  absl::Span<const uint32_t> groups;
};

enum SetAttrValid : uint32_t {
  kSetMode = 1 << 0,
  kSetUid = 1 << 1,
  kSetGid = 1 << 2,
  kSetSize = 1 << 3,
  kSetAtime = 1 << 4,
  kSetMtime = 1 << 5,
  kSetAtimeNow = 1 << 6,
  kSetMtimeNow = 1 << 7,
  kSetKillSuidGid = 1 << 8,  // with kSetSize: clear suid, and sgid of a group-executable file
  kSetCtime = 1 << 9,        // accepted and ignored: the store keeps ctime itself
};
struct SetAttributes {
  uint32_t valid;  // SetAttrValid
  uint32_t mode;
  uint32_t uid, gid;
  uint64_t size;
  int64_t atime_s, mtime_s;
  uint32_t atime_ns, mtime_ns;
};
static_assert(sizeof(SetAttributes) == 48 &&
              std::has_unique_object_representations_v<SetAttributes>);

// fcntl(2) and flock(2) locks. Ranges are inclusive; `end` = UINT64_MAX >> 1 is the end of all
// files.
enum class LockType : uint32_t { kRead = 0, kWrite = 1, kUnlock = 2 };
enum LockFlags : uint32_t { kLockWait = 1 << 0, kLockFlock = 1 << 1 };
struct LockRange {
  uint64_t owner;  // the client's name of the owner, unique in its session
  uint64_t start, end;
  LockType type;
  uint32_t pid;
};
static_assert(sizeof(LockRange) == 32 && std::has_unique_object_representations_v<LockRange>);

// A directory entry as it stands in a ReadDir payload: this, then (kDirentAttributes) an Attributes
// and the handle, then the name; padded to 8 bytes. kDirentEnd: no entry but the end of the
// directory, without a name.
enum DirentFlags : uint16_t { kDirentAttributes = 1 << 0, kDirentEnd = 1 << 1 };
struct DirentHeader {
  uint64_t ino;
  uint64_t next_cookie;  // where a ReadDir goes on behind this entry
  uint32_t type;         // DT_* of readdir(3)
  uint16_t flags;        // DirentFlags
  uint16_t handle_size;
  uint16_t name_size;
  uint16_t record_size;  // of all of it, with padding
  uint32_t reserved;
};
static_assert(sizeof(DirentHeader) == 32 && std::has_unique_object_representations_v<DirentHeader>);

}  // namespace rdmafs::wire
