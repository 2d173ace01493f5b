#include "transport/memory/memory_region_cache.h"

#include <algorithm>
#include <vector>

#include "transport/base/check.h"
#include "transport/base/counter.h"

namespace rdmafs {

// One slab with its three registrations, or the error that registering it met.
struct MemoryRegionCache::Owned {
  uintptr_t begin = 0, end = 0;
  std::array<MemoryRegistrar::Registration, kMemoryAccessCount> registrations;
  Errno error;

  bool Contains(uintptr_t address, size_t size) const {
    return address >= begin && address < end && size <= end - address;
  }
};

struct MemoryRegionCache::OwnedArray {
  std::vector<Owned> slabs;           // by address
  std::unique_ptr<OwnedArray> older;  // readers may still look at it

  const Owned* Find(uintptr_t address) const {
    auto after = std::upper_bound(slabs.begin(), slabs.end(), address,
                                  [](uintptr_t a, const Owned& slab) { return a < slab.begin; });
    return after == slabs.begin() ? nullptr : &*(after - 1);
  }
};

struct MemoryRegionCache::Foreign {
  MemoryRegistrar::Registration registration;
  Errno error;              // a failed registration that is remembered ...
  Nanoseconds expires = 0;  // ... until then
  size_t size = 0;          // bytes pinned; 0 when it failed
  ForeignMap::iterator position;
  // This entry's node of lru_, kept here while it is not linked there: linking never allocates.
  std::list<Foreign*> lru_node;
  std::list<Foreign*>::iterator lru_position;
};

// What a thread remembers of one cache. Trivial, so that the thread_local costs no guard.
struct MemoryRegionCache::LastHit {
  uint64_t cache_id;
  const Owned* slab;
  Counts* counts;
};

namespace {

constexpr size_t kLastHitCount = 4;  // caches a thread can alternate between without a miss

uint64_t NextCacheId() {
  static std::atomic<uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

MemoryRegionCache::MemoryRegionCache(MemoryRegistrar& registrar, Arena& arena, const Clock& clock,
                                     const Options& options)
    : registrar_(registrar), arena_(arena), clock_(clock), options_(options), id_(NextCacheId()) {
  observer_ = arena_.AddObserver([this](Arena::Slab slab) { AddOwned(slab); });
}

MemoryRegionCache::~MemoryRegionCache() {
  arena_.RemoveObserver(observer_);
  ForeignMap garbage;
  {
    absl::MutexLock lock(&mutex_);
    garbage.swap(foreign_);
    garbage.merge(dead_);
    lru_.clear();
  }
  Deregister(garbage);
  const OwnedArray* owned = owned_.load(std::memory_order_acquire);
  if (owned == nullptr) return;
  for (const Owned& slab : owned->slabs) {
    if (!slab.error.ok()) continue;
    for (const auto& registration : slab.registrations) registrar_.Deregister(registration);
  }
}

Result<MemoryKeys> MemoryRegionCache::Lookup(absl::Span<const std::byte> memory,
                                             MemoryAccess access) {
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  const auto index = static_cast<size_t>(access);
  LastHit& last = ThreadsLastHit();
  if (last.slab != nullptr && last.slab->Contains(address, memory.size())) {
    Count(last, true);
    return last.slab->registrations[index].keys;
  }
  const OwnedArray* owned = owned_.load(std::memory_order_acquire);
  const Owned* slab = owned != nullptr ? owned->Find(address) : nullptr;
  const bool inside = slab != nullptr && slab->Contains(address, memory.size());
  if (!inside || !slab->error.ok()) {
    Count(last, false);
    return Errno(inside ? ENOMEM : EFAULT);
  }
  last.slab = slab;  // of a generation that lives as long as the cache
  Count(last, true);
  return slab->registrations[index].keys;
}

MemoryRegionCache::LastHit& MemoryRegionCache::ThreadsLastHit() {
  thread_local std::array<LastHit, kLastHitCount> last_hits{};
  LastHit& last = last_hits[id_ % kLastHitCount];
  if (last.cache_id != id_) {
    last = {id_, nullptr, &ThreadsCounts(reinterpret_cast<uintptr_t>(&last_hits))};
  }
  return last;
}

// `thread` is the address of something that each living thread has of its own. A thread that comes
// to have a dead one's address goes on with its counts.
MemoryRegionCache::Counts& MemoryRegionCache::ThreadsCounts(uintptr_t thread) {
  for (size_t i = 0; i + 1 < kCountsCount; ++i) {
    uintptr_t owner = 0;
    if (counts_[i].thread.compare_exchange_strong(owner, thread) || owner == thread)
      return counts_[i];
  }
  return counts_.back();
}

void MemoryRegionCache::Count(LastHit& last, bool hit) {
  std::atomic<uint64_t>& count = hit ? last.counts->hits : last.counts->misses;
  if (last.counts != &counts_.back()) {
    AddAsOnlyWriter(count);
  } else {
    count.fetch_add(1, std::memory_order_relaxed);
  }
}

// The arena calls for one slab at a time, so generations follow one another.
void MemoryRegionCache::AddOwned(Arena::Slab slab) {
  Owned added = RegisterOwned(slab);
  auto next = std::make_unique<OwnedArray>();
  const OwnedArray* current = owned_.load(std::memory_order_acquire);
  if (current != nullptr) next->slabs = current->slabs;
  auto after = std::upper_bound(next->slabs.begin(), next->slabs.end(), added,
                                [](const Owned& a, const Owned& b) { return a.begin < b.begin; });
  next->slabs.insert(after, added);

  absl::MutexLock lock(&mutex_);
  if (owned_error_.ok()) owned_error_ = added.error;
  owned_.store(next.get(), std::memory_order_release);
  next->older = std::move(newest_);
  newest_ = std::move(next);
}

MemoryRegionCache::Owned MemoryRegionCache::RegisterOwned(Arena::Slab slab) {
  Owned owned;
  owned.begin = reinterpret_cast<uintptr_t>(slab.data());
  owned.end = owned.begin + slab.size();
  for (int i = 0; i < kMemoryAccessCount; ++i) {
    auto registration = registrar_.Register(slab, static_cast<MemoryAccess>(i));
    if (!registration.ok()) {
      owned.error = registration.error();
      while (i-- > 0) {
        registrar_.Deregister(owned.registrations[i]);
        deregistrations_.fetch_add(1, std::memory_order_relaxed);
      }
      return owned;
    }
    owned.registrations[i] = *registration;
    registrations_.fetch_add(1, std::memory_order_relaxed);
    owned_registrations_.fetch_add(1, std::memory_order_relaxed);
  }
  return owned;
}

Result<MemoryRegionCache::Pin> MemoryRegionCache::LookupForeign(absl::Span<std::byte> memory,
                                                                MemoryAccess access) {
  Pin pin;
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  if (memory.empty() || address + memory.size() < address) return Errno(EFAULT);
  const OwnedArray* owned = owned_.load(std::memory_order_acquire);
  const Owned* slab = owned != nullptr ? owned->Find(address) : nullptr;
  if (slab != nullptr && slab->Contains(address, memory.size())) {
    auto keys = Lookup(memory, access);
    if (!keys.ok()) return keys.error();
    pin.keys = *keys;
    return pin;
  }
  const Key key{address, {memory.size(), access}};
  ForeignMap garbage;
  std::shared_ptr<Foreign> entry;
  uint64_t invalidations;
  Errno remembered;
  {
    absl::MutexLock lock(&mutex_);
    CollectDead(garbage);
    auto found = FindForeign(key, garbage);
    if (found.ok()) entry = *found;
    remembered = found.error();
    invalidations = invalidations_;
  }
  Deregister(garbage);
  Count(ThreadsLastHit(), entry != nullptr);
  if (entry == nullptr && remembered != Errno(ENOENT)) return remembered;
  if (entry == nullptr) {
    auto registered = RegisterForeign(memory, key, invalidations);
    if (!registered.ok()) return registered.error();
    entry = *registered;
  }
  pin.keys = entry->registration.keys;
  pin.entry_ = std::move(entry);
  return pin;
}

// The entry of exactly this range and access; the error of one that failed lately; else ENOENT.
Result<std::shared_ptr<MemoryRegionCache::Foreign>> MemoryRegionCache::FindForeign(
    const Key& key, ForeignMap& garbage) {
  auto found = foreign_.find(key);
  if (found == foreign_.end()) return Errno(ENOENT);
  Foreign& entry = *found->second;
  if (!entry.error.ok() && clock_.Now() >= entry.expires) {
    Unlink(found, garbage);
    return Errno(ENOENT);
  }
  if (!entry.error.ok()) return entry.error;
  lru_.splice(lru_.begin(), lru_, entry.lru_position);
  return found->second;
}

// Registers without the lock, then inserts. A range that had an Invalidate() meanwhile is handed
// out once, but not remembered.
Result<std::shared_ptr<MemoryRegionCache::Foreign>> MemoryRegionCache::RegisterForeign(
    absl::Span<std::byte> memory, const Key& key, uint64_t invalidations) {
  auto registration = registrar_.Register(memory, key.second.second);
  if (!registration.ok() && registration.error() == Errno(ENOMEM)) {
    ForeignMap evicted;
    {
      absl::MutexLock lock(&mutex_);
      CollectOverLimits(0, 0, evicted);
    }
    const bool freed = !evicted.empty();
    Deregister(evicted);
    if (freed) registration = registrar_.Register(memory, key.second.second);
  }
  auto made = std::make_shared<Foreign>();
  made->error = registration.error();
  if (registration.ok()) {
    registrations_.fetch_add(1, std::memory_order_relaxed);
    made->registration = *registration;
    made->size = memory.size();
  } else {
    made->expires = clock_.Now() + options_.negative_ttl;
  }
  made->lru_node.push_back(made.get());
  made->lru_position = made->lru_node.begin();

  ForeignMap single, garbage;
  single.emplace(key, made);
  std::shared_ptr<Foreign> entry;
  {
    absl::MutexLock lock(&mutex_);
    entry = Insert(single, invalidations, garbage);
    CollectOverLimits(options_.foreign_bytes, options_.foreign_count, garbage);
  }
  made.reset();
  Deregister(garbage);
  if (!entry->error.ok()) return entry->error;
  return entry;
}

// Links the one node of `single`, or gives the entry that another thread linked first.
std::shared_ptr<MemoryRegionCache::Foreign> MemoryRegionCache::Insert(ForeignMap& single,
                                                                      uint64_t invalidations,
                                                                      ForeignMap& garbage) {
  auto node = single.extract(single.begin());
  std::shared_ptr<Foreign> entry = node.mapped();
  if (invalidations != invalidations_) {
    (entry->error.ok() ? dead_ : garbage).insert(std::move(node));
    return entry;
  }
  auto other = foreign_.find(node.key());
  if (other != foreign_.end() && other->second->error.ok()) {
    garbage.insert(std::move(node));
    return other->second;
  }
  if (other != foreign_.end()) Unlink(other, garbage);
  entry->position = foreign_.insert(std::move(node));
  lru_.splice(lru_.begin(), entry->lru_node);
  foreign_bytes_ += entry->size;
  largest_foreign_ = std::max(largest_foreign_, entry->position->first.second.first);
  return entry;
}

void MemoryRegionCache::Unlink(ForeignMap::iterator entry, ForeignMap& to) {
  Foreign& foreign = *entry->second;
  foreign.lru_node.splice(foreign.lru_node.begin(), lru_, foreign.lru_position);
  foreign_bytes_ -= foreign.size;
  to.insert(foreign_.extract(entry));
}

void MemoryRegionCache::Invalidate(absl::Span<const std::byte> memory) {
  const auto begin = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t end = begin + memory.size();
  absl::MutexLock lock(&mutex_);
  ++invalidations_;
  // Only an entry at most largest_foreign_ bytes before `begin` can reach into it.
  const uintptr_t first = begin > largest_foreign_ ? begin - largest_foreign_ : 0;
  auto it = foreign_.lower_bound(Key{first, {0, MemoryAccess::kLocal}});
  while (it != foreign_.end() && it->first.first < end) {
    auto next = std::next(it);
    if (it->first.first + it->first.second.first > begin) Unlink(it, dead_);
    it = next;
  }
}

void MemoryRegionCache::Trim() {
  ForeignMap garbage;
  {
    absl::MutexLock lock(&mutex_);
    CollectDead(garbage);
    CollectOverLimits(options_.foreign_bytes, options_.foreign_count, garbage);
  }
  Deregister(garbage);
}

// What was invalidated and has no pin any more. New pins of it cannot come: it is not in foreign_.
void MemoryRegionCache::CollectDead(ForeignMap& garbage) {
  for (auto it = dead_.begin(); it != dead_.end();) {
    auto next = std::next(it);
    if (it->second.use_count() == 1) garbage.insert(dead_.extract(it));
    it = next;
  }
}

void MemoryRegionCache::CollectOverLimits(size_t bytes, size_t count, ForeignMap& garbage) {
  auto it = lru_.end();
  while (it != lru_.begin() && (foreign_bytes_ > bytes || foreign_.size() > count)) {
    Foreign* entry = *--it;
    if (entry->position->second.use_count() > 1) continue;  // pinned
    ++it;
    Unlink(entry->position, garbage);
  }
}

void MemoryRegionCache::Deregister(ForeignMap& garbage) {
  for (auto& [key, entry] : garbage) {
    if (!entry->error.ok()) continue;
    registrar_.Deregister(entry->registration);
    deregistrations_.fetch_add(1, std::memory_order_relaxed);
  }
  garbage.clear();
}

MemoryRegionCache::Statistics MemoryRegionCache::statistics() const {
  Statistics statistics{};
  for (const Counts& counts : counts_) {
    statistics.hit_count += counts.hits.load(std::memory_order_relaxed);
    statistics.lookup_count += counts.misses.load(std::memory_order_relaxed);
  }
  statistics.lookup_count += statistics.hit_count;
  statistics.registration_count = registrations_.load(std::memory_order_relaxed);
  statistics.owned_registration_count = owned_registrations_.load(std::memory_order_relaxed);
  statistics.deregistration_count = deregistrations_.load(std::memory_order_relaxed);
  absl::MutexLock lock(&mutex_);
  statistics.foreign_count = foreign_.size();
  statistics.foreign_bytes = foreign_bytes_;
  return statistics;
}

Errno MemoryRegionCache::owned_error() const {
  absl::MutexLock lock(&mutex_);
  return owned_error_;
}

}  // namespace rdmafs
