// How the counters of read-ahead are named in a status document.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "client/read_ahead_layer.h"

namespace rdmafs {

// Adds one shard's to what is there. nullptr: the shard does not read ahead. `memory_bytes` is for
// the caller to set, as it is not a shard's.
void AddReadAhead(const ReadAheadStatistics* statistics, std::map<std::string, uint64_t>& counters);

}  // namespace rdmafs
