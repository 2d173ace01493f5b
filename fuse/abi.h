// The kernel's FUSE ABI: <linux/fuse.h>, and what kernels newer than the oldest supported headers
// added.
#pragma once

#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>

namespace rdmafs::fuse {

inline constexpr uint32_t kMajor = 7;
// Linux 5.4: FUSE_INIT with max_pages, async direct I/O, cached symlinks.
inline constexpr uint32_t kOldestMinor = 31;
// The newest minor whose replies we know the layout of (Linux 6.3).
inline constexpr uint32_t kNewestMinor = 38;

// Newer than Debian 12's headers.
inline constexpr uint64_t kInitDirectIoAllowMmap = uint64_t{1} << 36;  // 7.39

// What stands before the data of a WRITE. A request is read to this far before a block's payload,
// so that the data is page-aligned.
inline constexpr size_t kWritePrefixBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
static_assert(kWritePrefixBytes == 80);

inline constexpr uint32_t kMaxOpcode = 64;  // above FUSE_TMPFILE and what came since

// The dev_t that the kernel and the device exchange (new_encode_dev): 12 bits of major, 20 of
// minor.
constexpr uint32_t EncodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}
constexpr uint32_t DeviceMajor(uint32_t device) { return (device & 0xfff00) >> 8; }
constexpr uint32_t DeviceMinor(uint32_t device) {
  return (device & 0xff) | ((device >> 12) & 0xfff00);
}

}  // namespace rdmafs::fuse
