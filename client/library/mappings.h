// What /proc/self/maps says of memory.
#pragma once

#include "client/library/watched_ranges.h"

namespace rdmafs::library {

// Whether all of it is mapped, and is this process's alone: no file's, which another could cut off
// or punch holes into without a change of the mapping, no shared memory, no huge pages of
// hugetlbfs. Reads all of /proc/self/maps. Any thread.
bool IsPrivateAnonymous(AddressRange range);

}  // namespace rdmafs::library
