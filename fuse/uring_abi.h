// The kernel's ABI of FUSE over io_uring (Linux 6.14), which older <linux/fuse.h> do not have.
//
// A mount has a queue for each possible CPU, and a queue has entries. An entry is a place for one
// request: a header and a payload buffer, both ours, made known by REGISTER. The command completes
// when a request stands in them. The answer is put into the same memory, and COMMIT_AND_FETCH hands
// it in and waits for the next request. The kernel's documentation:
// Documentation/filesystems/fuse-io-uring.rst.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdmafs::fuse {

inline constexpr uint64_t kInitOverIoUring = uint64_t{1} << 41;

enum UringCommand : uint32_t { kUringRegister = 1, kUringCommitAndFetch = 2 };

// Of one request, in or out.
struct UringEntryHeader {
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_bytes;
  uint32_t padding;
  uint64_t reserved;
};
static_assert(sizeof(UringEntryHeader) == 32);

struct UringRequestHeader {
  std::byte in_out[128];     // fuse_in_header, and of the answer fuse_out_header
  std::byte operation[128];  // the operation's own header (fuse_write_in ...)
  UringEntryHeader entry;
};
static_assert(sizeof(UringRequestHeader) == 288);
static_assert(offsetof(UringRequestHeader, entry) == 256);

// In the second half of a 128-byte submission entry.
struct UringCommandArguments {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t padding[6];
};
static_assert(sizeof(UringCommandArguments) == 24);

}  // namespace rdmafs::fuse
