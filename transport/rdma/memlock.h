// How much memory may be locked, and what to say when it is too little.
#pragma once

#include <cstddef>
#include <string>

namespace rdmafs::rdma {

// Bytes that the registration of a slab counts against RLIMIT_MEMLOCK: once for each MemoryAccess.
size_t MemlockNeeded(size_t arena_bytes);
// Whether RLIMIT_MEMLOCK (or CAP_IPC_LOCK) allows it.
bool MemlockSuffices(size_t arena_bytes);
// "RLIMIT_MEMLOCK is 8192 kB ..., set LimitMEMLOCK= ...": one line for an administrator.
std::string MemlockAdvice(size_t arena_bytes);

}  // namespace rdmafs::rdma
