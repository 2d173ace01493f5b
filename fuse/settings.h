// Settings: how a mount behaves towards the kernel. Set before the shards run, constant afterwards.
#pragma once

#include <cstdint>

#include "fuse/page_cache_policy.h"
#include "transport/base/clock.h"
#include "transport/wire/header.h"

namespace rdmafs::fuse {

struct Settings {
  Nanoseconds attr_timeout = kSecond;
  Nanoseconds entry_timeout = kSecond;
  Nanoseconds negative_timeout = 0;  // 0: names that do not exist are asked for each time
  CacheMode cache = CacheMode::kAuto;
  bool direct_io = false;  // as cache=none, by the name other file systems have for it
  bool writeback = false;
  bool direct_io_allows_mmap = false;              // agreed with the kernel
  bool over_io_uring = false;  // wanted; then whether it was agreed with the kernel
  bool fills_pages = false;    // the kernel may be given pages
  bool setxattr_extended = false;                  // agreed with the kernel: SETXATTR has flags
  uint32_t max_io_bytes = wire::kMaxPayloadBytes;  // of one READ or WRITE

  bool UsesDirectIo() const { return direct_io || cache == CacheMode::kNone; }
};

}  // namespace rdmafs::fuse
