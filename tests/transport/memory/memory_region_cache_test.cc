// MemoryRegionCache: owned slabs without a lock, foreign memory byte-exact, limits, invalidation.
#include "transport/memory/memory_region_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/transport/memory/table_registrar.h"

namespace rdmafs {
namespace {

class HandClock final : public Clock {
 public:
  Nanoseconds Now() const override { return now.load(); }
  std::atomic<Nanoseconds> now{1};
};

constexpr size_t kSlabBytes = size_t{2} << 20;

class MemoryRegionCacheTest : public testing::Test {
 protected:
  std::unique_ptr<MemoryRegionCache> MakeCache(MemoryRegionCache::Options options = {}) {
    return std::make_unique<MemoryRegionCache>(registrar_, arena_, clock_, options);
  }
  absl::Span<std::byte> Foreign(size_t offset, size_t size) {
    return absl::MakeSpan(foreign_).subspan(offset, size);
  }
  TableRegistrar registrar_;
  Arena arena_;
  HandClock clock_;
  std::vector<std::byte> foreign_ = std::vector<std::byte>(1 << 20);
};

TEST_F(MemoryRegionCacheTest, AnOwnedSlabHasItsOwnKeysForEveryAccess) {
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  for (auto access :
       {MemoryAccess::kLocal, MemoryAccess::kRemoteRead, MemoryAccess::kRemoteWrite}) {
    auto keys = cache->Lookup(slab.subspan(4096, 100), access);
    ASSERT_TRUE(keys.ok());
    EXPECT_EQ(registrar_.at(keys->lkey).access, access);
    EXPECT_EQ(registrar_.at(keys->lkey).memory.data(), slab.data());
    EXPECT_EQ(keys->rkey, keys->lkey + 1'000'000);
  }
  EXPECT_EQ(registrar_.count(), 3u);
}

TEST_F(MemoryRegionCacheTest, SlabsAddedLaterAreFoundAndRegisteredOnce) {
  auto cache = MakeCache();
  std::vector<Arena::Slab> slabs;
  for (int i = 0; i < 5; ++i) slabs.push_back(arena_.Add(kSlabBytes));
  for (int round = 0; round < 3; ++round) {
    for (Arena::Slab slab : slabs) {
      auto keys = cache->Lookup(slab, MemoryAccess::kRemoteRead);
      ASSERT_TRUE(keys.ok());
      EXPECT_EQ(registrar_.at(keys->lkey).memory.data(), slab.data());
    }
  }
  auto statistics = cache->statistics();
  EXPECT_EQ(statistics.registration_count, 15u);
  EXPECT_EQ(statistics.owned_registration_count, 15u);
  EXPECT_EQ(statistics.lookup_count, 15u);
  EXPECT_EQ(statistics.hit_count, 15u);
}

TEST_F(MemoryRegionCacheTest, MemoryThatIsNotInsideOneSlabIsRefusedWithEfault) {
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  struct {
    const std::byte* start;
    size_t size;
  } const cases[] = {
      {slab.data() + slab.size() - 1, 2},
      {slab.data() + slab.size(), 1},
      {slab.data() - 1, 2},
      {slab.data() - 1, 1},
      {slab.data() + 1, SIZE_MAX},
      {nullptr, 1},
      {foreign_.data(), 1},
  };
  ASSERT_TRUE(cache->Lookup(slab, MemoryAccess::kLocal).ok());  // there is a last hit to mislead us
  for (const auto& c : cases) {
    EXPECT_EQ(cache->Lookup({c.start, c.size}, MemoryAccess::kLocal).error(), Errno(EFAULT));
  }
  EXPECT_EQ(cache->statistics().lookup_count, 8u);
  EXPECT_EQ(cache->statistics().hit_count, 1u);
}

TEST_F(MemoryRegionCacheTest, ASlabThatCannotBeRegisteredGivesEnomemAndLeavesNothingBehind) {
  registrar_.LimitTo(2);  // the third access fails
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  EXPECT_EQ(cache->Lookup(slab, MemoryAccess::kLocal).error(), Errno(ENOMEM));
  EXPECT_EQ(cache->owned_error(), Errno(ENOMEM));
  EXPECT_EQ(registrar_.count(), 0u);
}

TEST_F(MemoryRegionCacheTest, ALastHitOfOneCacheIsNotUsedForAnother) {
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto first = MakeCache();
  const auto a = first->Lookup(slab, MemoryAccess::kLocal);
  for (int i = 0; i < 9; ++i) {
    auto other = MakeCache();
    const auto b = other->Lookup(slab, MemoryAccess::kLocal);
    ASSERT_TRUE(a.ok() && b.ok());
    EXPECT_NE(a->lkey, b->lkey);
    EXPECT_EQ(first->Lookup(slab, MemoryAccess::kLocal)->lkey, a->lkey);
  }
}

TEST_F(MemoryRegionCacheTest, EverythingIsDeregisteredAtTheEnd) {
  arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  ASSERT_TRUE(cache->LookupForeign(Foreign(0, 10), MemoryAccess::kLocal).ok());
  ASSERT_TRUE(cache->LookupForeign(Foreign(20, 10), MemoryAccess::kLocal).ok());
  cache->Invalidate(Foreign(0, 1));
  cache.reset();
  EXPECT_EQ(registrar_.count(), 0u);
}

TEST_F(MemoryRegionCacheTest, LookupsOfManyThreadsAreCountedExactlyWhileSlabsAreAdded) {
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  constexpr int kThreads = 40, kLookups = 2000;  // more threads than there are counters
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kLookups; ++i) {
        if (!cache->Lookup(slab.subspan(i, 1), MemoryAccess::kRemoteWrite).ok()) ++failed;
      }
    });
  }
  for (int i = 0; i < 8; ++i) arena_.Add(kSlabBytes);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(cache->statistics().lookup_count, uint64_t{kThreads} * kLookups);
  EXPECT_EQ(cache->statistics().hit_count, uint64_t{kThreads} * kLookups);
}

// --- Foreign memory ---

TEST_F(MemoryRegionCacheTest, ForeignMemoryIsRegisteredOnceForTheExactRangeAndAccess) {
  auto cache = MakeCache();
  struct {
    size_t offset, size;
    MemoryAccess access;
    size_t attempts_after;
  } const cases[] = {
      {0, 100, MemoryAccess::kRemoteWrite, 1}, {0, 100, MemoryAccess::kRemoteWrite, 1},
      {0, 100, MemoryAccess::kRemoteRead, 2},  {0, 99, MemoryAccess::kRemoteWrite, 3},
      {1, 99, MemoryAccess::kRemoteWrite, 4},  {100, 100, MemoryAccess::kRemoteWrite, 5},
      {0, 200, MemoryAccess::kRemoteWrite, 6}, {0, 100, MemoryAccess::kRemoteWrite, 6},
  };
  for (const auto& c : cases) {
    auto pin = cache->LookupForeign(Foreign(c.offset, c.size), c.access);
    ASSERT_TRUE(pin.ok());
    EXPECT_EQ(registrar_.at(pin->keys.lkey).memory.data(), foreign_.data() + c.offset);
    EXPECT_EQ(registrar_.at(pin->keys.lkey).memory.size(), c.size);
    EXPECT_EQ(registrar_.at(pin->keys.lkey).access, c.access);
    EXPECT_EQ(registrar_.attempts(), c.attempts_after);
  }
  EXPECT_EQ(cache->statistics().foreign_count, 6u);
  EXPECT_EQ(cache->statistics().hit_count, 2u);
}

TEST_F(MemoryRegionCacheTest, OwnedMemoryIsNotRegisteredAgainAsForeign) {
  Arena::Slab slab = arena_.Add(kSlabBytes);
  auto cache = MakeCache();
  auto pin = cache->LookupForeign(slab.subspan(10, 10), MemoryAccess::kRemoteRead);
  ASSERT_TRUE(pin.ok());
  EXPECT_EQ(pin->keys.rkey, cache->Lookup(slab, MemoryAccess::kRemoteRead)->rkey);
  EXPECT_EQ(registrar_.attempts(), 3u);
}

TEST_F(MemoryRegionCacheTest, EmptyAndWrappingRangesAreRefused) {
  auto cache = MakeCache();
  EXPECT_EQ(cache->LookupForeign({}, MemoryAccess::kLocal).error(), Errno(EFAULT));
  EXPECT_EQ(cache->LookupForeign({foreign_.data(), SIZE_MAX}, MemoryAccess::kLocal).error(),
            Errno(EFAULT));
  EXPECT_EQ(registrar_.attempts(), 0u);
}

TEST_F(MemoryRegionCacheTest, TheLeastRecentlyUsedGoesFirstWhenThereAreTooMany) {
  auto cache = MakeCache({.foreign_count = 2});
  (void)cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  (void)cache->LookupForeign(Foreign(1, 1), MemoryAccess::kLocal);
  (void)cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);  // 0 is the newer one now
  (void)cache->LookupForeign(Foreign(2, 1), MemoryAccess::kLocal);  // 1 goes
  EXPECT_EQ(registrar_.attempts(), 3u);
  EXPECT_EQ(registrar_.count(), 2u);
  (void)cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  EXPECT_EQ(registrar_.attempts(), 3u);
  (void)cache->LookupForeign(Foreign(1, 1), MemoryAccess::kLocal);
  EXPECT_EQ(registrar_.attempts(), 4u);
}

TEST_F(MemoryRegionCacheTest, TheLeastRecentlyUsedGoesFirstWhenTooManyBytesArePinned) {
  auto cache = MakeCache({.foreign_bytes = 1000});
  (void)cache->LookupForeign(Foreign(0, 600), MemoryAccess::kLocal);
  (void)cache->LookupForeign(Foreign(600, 400), MemoryAccess::kLocal);
  EXPECT_EQ(cache->statistics().foreign_bytes, 1000u);
  (void)cache->LookupForeign(Foreign(1000, 1), MemoryAccess::kLocal);
  EXPECT_EQ(cache->statistics().foreign_bytes, 401u);
  EXPECT_EQ(cache->statistics().foreign_count, 2u);
  EXPECT_EQ(cache->statistics().deregistration_count, 1u);
}

TEST_F(MemoryRegionCacheTest, WhatIsPinnedStaysRegisteredOverTheLimits) {
  auto cache = MakeCache({.foreign_count = 1});
  auto first = cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  auto second = cache->LookupForeign(Foreign(1, 1), MemoryAccess::kLocal);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(registrar_.count(), 2u);
  *first = MemoryRegionCache::Pin();
  cache->Trim();
  EXPECT_EQ(registrar_.count(), 1u);
  EXPECT_EQ(registrar_.at(second->keys.lkey).memory.data(), foreign_.data() + 1);
}

TEST_F(MemoryRegionCacheTest, AFailureIsRememberedForItsTimeAndNoLonger) {
  auto cache = MakeCache({.negative_ttl = 100});
  registrar_.FailWith(Errno(EFAULT));
  EXPECT_EQ(cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal).error(), Errno(EFAULT));
  registrar_.FailWith(kOk);
  clock_.now += 99;
  EXPECT_EQ(cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal).error(), Errno(EFAULT));
  EXPECT_EQ(registrar_.attempts(), 1u);
  EXPECT_TRUE(cache->LookupForeign(Foreign(0, 2), MemoryAccess::kLocal).ok());  // another range
  clock_.now += 1;
  EXPECT_TRUE(cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal).ok());
}

TEST_F(MemoryRegionCacheTest, WhenTheDeviceIsFullWhatIsNotPinnedMakesRoom) {
  auto cache = MakeCache();
  registrar_.LimitTo(2);
  auto pinned = cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  (void)cache->LookupForeign(Foreign(1, 1), MemoryAccess::kLocal);
  auto third = cache->LookupForeign(Foreign(2, 1), MemoryAccess::kLocal);
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(cache->LookupForeign(Foreign(3, 1), MemoryAccess::kLocal).error(), Errno(ENOMEM));
  EXPECT_EQ(registrar_.count(), 2u);
}

TEST_F(MemoryRegionCacheTest, InvalidateForgetsEveryRangeThatTouchesTheMemoryAndNoOther) {
  struct {
    size_t offset, size;
    bool forgotten;
  } const cases[] = {
      {0, 100, false}, {0, 101, true}, {99, 2, true},   {100, 1, true},  {150, 10, true},
      {50, 500, true}, {199, 1, true}, {199, 50, true}, {200, 1, false}, {300, 10, false},
  };
  for (const auto& c : cases) {
    auto cache = MakeCache();
    (void)cache->LookupForeign(Foreign(c.offset, c.size), MemoryAccess::kRemoteWrite);
    (void)cache->LookupForeign(Foreign(90, 5), MemoryAccess::kLocal);  // a neighbour
    cache->Invalidate(Foreign(100, 100));
    const size_t before = registrar_.attempts();
    (void)cache->LookupForeign(Foreign(c.offset, c.size), MemoryAccess::kRemoteWrite);
    EXPECT_EQ(registrar_.attempts() - before, c.forgotten ? 1u : 0u) << c.offset << "+" << c.size;
  }
}

TEST_F(MemoryRegionCacheTest, InvalidateDoesNotDeregisterAndTheNextLookupOrTrimDoes) {
  auto cache = MakeCache();
  (void)cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  cache->Invalidate(Foreign(0, 1));
  EXPECT_EQ(registrar_.count(), 1u);
  EXPECT_EQ(cache->statistics().foreign_count, 0u);
  cache->Trim();
  EXPECT_EQ(registrar_.count(), 0u);
  (void)cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  cache->Invalidate(Foreign(0, 1));
  (void)cache->LookupForeign(Foreign(1, 1), MemoryAccess::kLocal);
  EXPECT_EQ(registrar_.count(), 1u);
}

TEST_F(MemoryRegionCacheTest, AnInvalidatedPinDiesWithItsLastHolder) {
  auto cache = MakeCache();
  auto pin = cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  cache->Invalidate(Foreign(0, 1));
  auto again = cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  ASSERT_TRUE(pin.ok() && again.ok());
  EXPECT_NE(pin->keys.lkey, again->keys.lkey);
  cache->Trim();
  EXPECT_EQ(registrar_.count(), 2u);
  *pin = MemoryRegionCache::Pin();
  cache->Trim();
  EXPECT_EQ(registrar_.count(), 1u);
}

TEST_F(MemoryRegionCacheTest, ARangeInvalidatedWhileItIsRegisteredIsNotRemembered) {
  auto cache = MakeCache();
  registrar_.during_register = [&] { cache->Invalidate(Foreign(0, 1)); };
  auto pin = cache->LookupForeign(Foreign(0, 1), MemoryAccess::kLocal);
  registrar_.during_register = nullptr;
  ASSERT_TRUE(pin.ok());
  EXPECT_EQ(cache->statistics().foreign_count, 0u);
  *pin = MemoryRegionCache::Pin();
  cache->Trim();
  EXPECT_EQ(registrar_.count(), 0u);
}

TEST_F(MemoryRegionCacheTest, ThreadsThatWantOneRangeAtOnceShareOneRegistration) {
  auto cache = MakeCache();
  constexpr int kThreads = 8;
  std::atomic<int> inside{0};
  registrar_.during_register = [&] {  // all of them miss before the first one registers
    ++inside;
    while (inside < kThreads) std::this_thread::yield();
  };
  std::vector<MemoryRegionCache::Pin> pins(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto pin = cache->LookupForeign(Foreign(0, 64), MemoryAccess::kRemoteRead);
      if (pin.ok()) pins[t] = std::move(*pin);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(registrar_.count(), 1u);
  for (const auto& pin : pins) EXPECT_EQ(pin.keys.lkey, pins[0].keys.lkey);
  EXPECT_NE(pins[0].keys.lkey, 0u);
}

}  // namespace
}  // namespace rdmafs
