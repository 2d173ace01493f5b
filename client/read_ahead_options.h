// ReadAheadOptions: how a mount or a library user wants its reads fetched ahead, and what `auto`
// means.
#pragma once

#include <cstdint>

#include "transport/base/clock.h"

namespace rdmafs {

enum class ReadAheadMode { kAuto, kOn, kOff };

struct ReadAheadOptions {
  ReadAheadMode mode = ReadAheadMode::kAuto;
  uint64_t max_window_bytes = uint64_t{8} << 20;  // ra_max: of one stream of reads
  uint64_t max_total_bytes = uint64_t{32}
                             << 20;  // ra_total: of pool memory, all files and shards together
  // Fetches under way per shard; the other half of a connection's credits is for what was asked
  // for.
  uint32_t max_in_flight = 32;
};

// What `auto` decides by.
struct ReadAheadSituation {
  // The kernel reads ahead into its page cache (no direct_io, no cache=none), through such a
  // window.
  bool kernel_reads_ahead = true;
  uint64_t kernel_window_bytes = 128 * 1024;
  Nanoseconds round_trip = 0;                 // measured, of a call without payload; 0: not known
  uint64_t bytes_per_second = 1'000'000'000;  // what the way there can carry
};

// Whether to read ahead: as the mode says; for kAuto, where the kernel does not, or where its
// window is used up before a round trip is over.
bool WantsReadAhead(ReadAheadMode mode, const ReadAheadSituation& situation);

}  // namespace rdmafs
