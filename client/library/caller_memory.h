// CallerMemory: how an operation reaches memory that is the program's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "client/library/mapping_watch.h"
#include "transport/connection.h"

namespace rdmafs::library {

// Which way data go through it.
enum class Direction : uint8_t { kReadTo = 1, kWriteFrom = 2 };

// Whether all of `memory` is mapped, and writable when data are to be read into it. EFAULT
// otherwise. Brings its pages in. Any thread.
Errno CheckMapped(absl::Span<std::byte> memory, Direction direction);

// Thread-safe.
class CallerMemory {
 public:
  // What a transfer keeps while it is under way. Returned with End().
  struct Use {
    absl::Span<std::byte> range;  // what is registered as one; empty: for this call alone
  };
  struct Statistics {
    uint64_t range_count, range_bytes;
    uint64_t watched_bytes, change_count;
  };

  // Asked to pin and to forget memory; outlives this. Those that are not used are nullptr.
  CallerMemory(Transport* first, Transport* second) : transports_{first, second} {}

  // directions: RDMAFS_READTO | RDMAFS_WRITEFROM. Errors as rdmafs_register() and _unregister().
  Errno Register(absl::Span<std::byte> memory, int directions);
  Errno Unregister(absl::Span<std::byte> memory);

  // From now on registrations of plain memory are kept for further calls where the kernel tells of
  // changes. Before the first transfer. The clock must outlive this.
  absl::Status WatchMappings(const Clock& clock);

  // The registered range that `memory` lies in, for this direction.
  Use Begin(absl::Span<std::byte> memory, Direction direction);
  void End(const Use& use);
  // Whether registrations of this plain memory may be kept (see MappingWatch::Stands). If not,
  // there is none now, and what is registered for a call must be forgotten after it.
  bool Keeps(absl::Span<std::byte> memory);
  // A registration for one call has served.
  void Forget(absl::Span<std::byte> memory);

  Statistics statistics() const;

 private:
  struct Range {
    size_t size_bytes = 0;
    int directions = 0;
    uint64_t use_count = 0;
    bool pinning = true;  // Register() is still at it
    std::vector<MemoryRegionCache::Pin> pins;
  };
  using Ranges = std::map<uintptr_t, Range>;

  Ranges::iterator At(uintptr_t address) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Errno Pin(absl::Span<std::byte> memory, int directions,
            std::vector<MemoryRegionCache::Pin>& pins);

  Transport* const transports_[2];
  std::unique_ptr<MappingWatch> watch_;
  mutable absl::Mutex mutex_;
  Ranges ranges_ ABSL_GUARDED_BY(mutex_);  // by their first byte; none touches another
  uint64_t range_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::library
