// CountingRandom: no two sessions, servers or nonces are the same, and every run is.
#pragma once

#include <algorithm>
#include <cstring>

#include "absl/types/span.h"

namespace rdmafs::server {

// A RandomSource, for one thread at a time.
class CountingRandom {
 public:
  void operator()(absl::Span<std::byte> bytes) {
    std::memset(bytes.data(), 0, bytes.size());
    std::memcpy(bytes.data(), &next_, std::min(bytes.size(), sizeof next_));
    ++next_;
  }

 private:
  uint64_t next_ = 1;
};

}  // namespace rdmafs::server
