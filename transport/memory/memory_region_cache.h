// MemoryRegionCache: from (address, length, access) to the keys of a registration.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "transport/base/clock.h"
#include "transport/base/errno.h"
#include "transport/memory/arena.h"

namespace rdmafs {

// What the holder of an rkey may do. An operation's rkey grants one direction only, so the access
// is part of every lookup. kLocal is for memory that only this side's QP touches.
enum class MemoryAccess : uint8_t { kLocal, kRemoteRead, kRemoteWrite };
inline constexpr int kMemoryAccessCount = 3;

struct MemoryKeys {
  uint32_t lkey = 0;
  uint32_t rkey = 0;
  void* region = nullptr;  // the registrar's own name for the registration
};

// A protection domain's ability to register memory: ibv_reg_mr(3), or a test's table of it.
// Thread-safe; may block (it pins pages).
class MemoryRegistrar {
 public:
  struct Registration {
    MemoryKeys keys;
  };
  virtual ~MemoryRegistrar() = default;
  // ENOMEM: over RLIMIT_MEMLOCK or the device's limit. EFAULT: not mapped, or not writable where
  // the access needs it.
  virtual Result<Registration> Register(absl::Span<std::byte> memory, MemoryAccess access) = 0;
  virtual void Deregister(const Registration& registration) = 0;
};

// Answers in three steps: the thread's last hit; the sorted array of owned slabs, lock-free and
// never evicted; the ordered map of foreign memory, under a mutex. Thread-safe.
class MemoryRegionCache {
  struct Foreign;

 public:
  struct Options {
    size_t foreign_bytes = size_t{256} << 20;  // pinned at most for foreign memory not in use
    size_t foreign_count = 1024;
    Nanoseconds negative_ttl = kSecond;  // how long a failed registration is remembered
  };
  struct Statistics {
    uint64_t lookup_count;
    uint64_t hit_count;
    uint64_t registration_count;  // of owned slabs and foreign memory together
    uint64_t owned_registration_count;
    uint64_t deregistration_count;
    uint64_t foreign_count;
    uint64_t foreign_bytes;
  };
  // Keeps a foreign registration alive while an operation uses it.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&&) noexcept = default;
    Pin& operator=(Pin&&) noexcept = default;
    MemoryKeys keys;

   private:
    friend class MemoryRegionCache;
    std::shared_ptr<Foreign> entry_;
  };

  // Registers `arena`'s slabs, all there are and all that come, for all three accesses. The
  // registrar, the arena and the clock must outlive the cache.
  MemoryRegionCache(MemoryRegistrar& registrar, Arena& arena, const Clock& clock)
      : MemoryRegionCache(registrar, arena, clock, Options{}) {}
  MemoryRegionCache(MemoryRegistrar& registrar, Arena& arena, const Clock& clock,
                    const Options& options);
  ~MemoryRegionCache();

  // Keys of owned memory: no lock, no allocation. EFAULT when [memory) is not inside one slab;
  // ENOMEM when that slab could not be registered.
  Result<MemoryKeys> Lookup(absl::Span<const std::byte> memory, MemoryAccess access);

  // Keys of any memory, registering it if need be (byte-exact; never merged with a neighbour). The
  // caller answers for the mapping's standing until Invalidate(): a registration of memory that was
  // unmapped meanwhile is silent corruption.
  Result<Pin> LookupForeign(absl::Span<std::byte> memory, MemoryAccess access);
  // Forgets every foreign registration that touches [memory); those pinned now die with their last
  // pin. Neither allocates nor deregisters: the latter is left to the next LookupForeign or Trim().
  void Invalidate(absl::Span<const std::byte> memory);
  // Deregisters what was invalidated or is over the limits and not pinned.
  void Trim();

  Statistics statistics() const;
  // The first error that registering an owned slab met, for a start-up message; kOk when none.
  Errno owned_error() const;

 private:
  using Key = std::pair<uintptr_t, std::pair<size_t, MemoryAccess>>;  // address, (size, access)
  using ForeignMap = std::multimap<Key, std::shared_ptr<Foreign>>;
  struct Owned;
  struct OwnedArray;
  struct LastHit;
  // Counts of one thread, which alone writes them: no locked instruction on a lookup.
  struct alignas(64) Counts {
    std::atomic<uintptr_t> thread{0};
    std::atomic<uint64_t> hits{0}, misses{0};
  };
  static constexpr size_t kCountsCount = 32;  // the last one is shared by all further threads

  LastHit& ThreadsLastHit();
  Counts& ThreadsCounts(uintptr_t thread);
  void Count(LastHit& last, bool hit);
  void AddOwned(Arena::Slab slab);
  Owned RegisterOwned(Arena::Slab slab);

  Result<std::shared_ptr<Foreign>> FindForeign(const Key& key, ForeignMap& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Result<std::shared_ptr<Foreign>> RegisterForeign(absl::Span<std::byte> memory, const Key& key,
                                                   uint64_t invalidations);
  std::shared_ptr<Foreign> Insert(ForeignMap& single, uint64_t invalidations, ForeignMap& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unlink(ForeignMap::iterator entry, ForeignMap& to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectDead(ForeignMap& garbage) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectOverLimits(size_t bytes, size_t count, ForeignMap& garbage)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Deregister(ForeignMap& garbage);

  // Constant after construction.
  MemoryRegistrar& registrar_;
  Arena& arena_;
  const Clock& clock_;
  const Options options_;
  const uint64_t id_;  // tells a thread's last hit in this cache from one in another
  int observer_ = 0;

  std::atomic<const OwnedArray*> owned_{nullptr};
  std::atomic<uint64_t> registrations_{0}, owned_registrations_{0}, deregistrations_{0};
  std::array<Counts, kCountsCount> counts_;

  // Nothing is allocated or freed while it is held: either may unmap memory, and whoever is told of
  // that calls Invalidate().
  mutable absl::Mutex mutex_;
  std::unique_ptr<OwnedArray> newest_ ABSL_GUARDED_BY(mutex_);  // and behind it all older ones
  Errno owned_error_ ABSL_GUARDED_BY(mutex_);
  ForeignMap foreign_ ABSL_GUARDED_BY(mutex_);
  ForeignMap dead_ ABSL_GUARDED_BY(mutex_);  // invalidated; deregistered after their last pin
  std::list<Foreign*> lru_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  size_t foreign_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t largest_foreign_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t invalidations_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs
