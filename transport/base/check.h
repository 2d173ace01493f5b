// CHECK and DCHECK: what only a programmer can cause. Never for what a peer, a user or a disk can.
#pragma once

namespace rdmafs {
// Writes file, line and expression to standard error and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, const char* expression);

// For the beginning of main(). Debian's abseil looks for deadlocks at every lock, also in programs
// that are compiled for speed: 2 % of a mount's time. Builds with DCHECK keep that.
void ChooseMutexChecks();
}  // namespace rdmafs

#define RDMAFS_CHECK(condition)                 \
  (__builtin_expect(!!(condition), 1) ? (void)0 \
                                      : ::rdmafs::CheckFailed(__FILE__, __LINE__, #condition))

#ifndef CHECK
#define CHECK(condition) RDMAFS_CHECK(condition)
#endif
#ifndef DCHECK
#ifdef NDEBUG
#define DCHECK(condition) ((void)sizeof(!(condition)))
#else
#define DCHECK(condition) RDMAFS_CHECK(condition)
#endif
#endif
