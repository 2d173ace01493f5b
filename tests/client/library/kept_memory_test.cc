// Registrations of plain memory that are kept (mr_cache=uffd): never of pages that are not there
// any more.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "client/library/userfault.h"
#include "tests/client/library/kept_memory_rig.h"

namespace rdmafs::library {
namespace {

class KeptMemory : public testing::Test {
 protected:
  uint64_t registrations() const { return rig.cache.statistics().registration_count; }
  // Uses it twice, and gives how many registrations that took.
  uint64_t CostOfTwo(absl::Span<std::byte> pages) {
    const uint64_t before = registrations();
    EXPECT_TRUE(rig.Use(pages));
    EXPECT_TRUE(rig.Use(pages));
    return registrations() - before;
  }

  KeptMemoryRig rig;
};

TEST_F(KeptMemory, APlainPointerIsRegisteredOnce) {
  const auto pages = rig.Map(4 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  EXPECT_EQ(CostOfTwo(pages.subspan(kPage, kPage)), 1u) << "another range of it has its own";
  EXPECT_EQ(CostOfTwo(pages), 0u);
  EXPECT_EQ(rig.memory.statistics().watched_bytes, 4 * kPage);
  ::munmap(pages.data(), pages.size());
}

TEST_F(KeptMemory, TheSameAddressMappedAnewIsRegisteredAnew) {
  auto pages = rig.Map(4 * kPage);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(CostOfTwo(pages), 1u) << i;
    ::munmap(pages.data(), pages.size());
    pages = rig.Map(4 * kPage, pages.data());
    ASSERT_EQ(CostOfTwo(pages), 1u) << i;
    pages = rig.Map(4 * kPage, pages.data());  // over it, without munmap
  }
  ::munmap(pages.data(), pages.size());
  EXPECT_EQ(rig.memory.statistics().change_count, 200u);
}

TEST_F(KeptMemory, APageInTheMiddleThatIsMappedAnewCounts) {
  const auto pages = rig.Map(5 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  rig.Map(kPage, pages.data() + 2 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  EXPECT_EQ(CostOfTwo(pages), 0u);
  ::munmap(pages.data(), pages.size());
}

TEST_F(KeptMemory, MovedMemoryIsRegisteredAnewWhereItIsAndSoIsWhatComesInItsPlace) {
  auto pages = rig.Map(4 * kPage);
  const auto hole = rig.Map(4 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  EXPECT_EQ(CostOfTwo(hole), 1u);
  ASSERT_EQ(::mremap(pages.data(), pages.size(), pages.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                     hole.data()),
            hole.data());
  EXPECT_EQ(CostOfTwo(hole), 1u);
  pages = rig.Map(4 * kPage, pages.data());
  EXPECT_EQ(CostOfTwo(pages), 1u);
  EXPECT_EQ(CostOfTwo(hole), 0u);
  ::munmap(hole.data(), hole.size());
  ::munmap(pages.data(), pages.size());
}

TEST_F(KeptMemory, DiscardedMemoryIsNotKeptForAWhile) {
  const auto pages = rig.Map(4 * kPage);
  const auto other = rig.Map(4 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  for (int advice : {MADV_DONTNEED, MADV_FREE}) {
    ASSERT_EQ(::madvise(pages.data() + kPage, kPage, advice), 0);
    rig.registrar.Mark(pages);
    EXPECT_EQ(CostOfTwo(pages), 2u) << "each time";
    EXPECT_EQ(CostOfTwo(pages.first(kPage)), 1u) << "which was not discarded";
    ::munmap(other.data(), 0);
    rig.clock.Advance(MappingWatch::kDiscardTime);
    EXPECT_EQ(CostOfTwo(pages), 1u);
    rig.memory.Forget(pages);
  }
  EXPECT_EQ(CostOfTwo(other), 1u);
  ::munmap(pages.data(), pages.size());
  ::munmap(other.data(), other.size());
}

TEST_F(KeptMemory, AForkChangesNothing) {
  const auto pages = rig.Map(4 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  const pid_t child = ::fork();
  if (child == 0) {
    ::munmap(pages.data(), pages.size());  // the child's own, and no one waits for it
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(CostOfTwo(pages), 0u);
  ::munmap(pages.data(), pages.size());
}

// Locks that are held while it forks may be what the thread that takes events waits for.
TEST(UserfaultTest, AForkWaitsForNoOneToTakeAnEvent) {
  const pid_t forks = ::fork();
  if (forks == 0) {
    ::alarm(20);
    auto userfault = Userfault::Open();
    void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);
    const auto begin = reinterpret_cast<uintptr_t>(page);
    if (!userfault.ok() || !(*userfault)->Watch({begin, begin + kPage})) ::_exit(1);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    int status = -1;
    (void)::waitpid(child, &status, 0);
    ::_exit(status == 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(forks, &status, 0), forks);
  EXPECT_EQ(status, 0) << "a signal means that it waited";
}

TEST_F(KeptMemory, WhatTheProgramRegistersItselfIsOfThePagesThatAreThereNow) {
  auto pages = rig.Map(4 * kPage);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(rig.Use(pages));
    pages = rig.Map(4 * kPage, pages.data());
    ASSERT_EQ(rig.memory.Register(pages, static_cast<int>(Direction::kReadTo)), kOk);
    {
      const auto pin = rig.cache.LookupForeign(pages, MemoryAccess::kRemoteWrite);
      EXPECT_TRUE(rig.registrar.Reaches(pin->keys.lkey, pages));
    }
    EXPECT_EQ(rig.memory.Unregister(pages), kOk);
  }
  ::munmap(pages.data(), pages.size());
}

TEST_F(KeptMemory, MemoryThatOthersCanChangeIsNeverKept) {
  const int file = ::memfd_create("shared", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(file, 4 * kPage), 0);
  for (const auto& [flags, fd] : {std::pair{MAP_SHARED | MAP_ANONYMOUS, -1},
                                  std::pair{MAP_SHARED, file}, std::pair{MAP_PRIVATE, file}}) {
    const auto pages = rig.Map(4 * kPage, nullptr, flags, fd);
    EXPECT_EQ(CostOfTwo(pages), 2u) << flags;
    ::munmap(pages.data(), pages.size());
  }
  const auto pages = rig.Map(4 * kPage);
  rig.Map(kPage, pages.data() + kPage, MAP_SHARED, file);
  EXPECT_EQ(CostOfTwo(pages), 2u) << "a part of it is shared";
  ::munmap(pages.data(), pages.size());
  ::close(file);
}

TEST_F(KeptMemory, MemoryThatIsNotThereIsNotKept) {
  const auto pages = rig.Map(4 * kPage);
  ::munmap(pages.data() + kPage, kPage);
  EXPECT_FALSE(rig.memory.Keeps(pages));
  EXPECT_TRUE(rig.memory.Keeps(pages.first(kPage)));
  EXPECT_FALSE(rig.memory.Keeps(pages.first(0)));
  ::munmap(pages.data(), pages.size());
}

TEST_F(KeptMemory, WhatIsFullOfWatchedRangesRefusesMoreAndTakesThemWhenSomeHaveGone) {
  const size_t size = 2 * (MappingWatch::kMaxRanges + 1) * kPage;
  const auto pages = rig.Map(size);
  for (size_t i = 0; i < MappingWatch::kMaxRanges; ++i)
    ASSERT_TRUE(rig.memory.Keeps(pages.subspan(2 * i * kPage, kPage))) << i;
  const auto one_more = pages.subspan(2 * MappingWatch::kMaxRanges * kPage, kPage);
  EXPECT_FALSE(rig.memory.Keeps(one_more));
  EXPECT_TRUE(rig.memory.Keeps(pages.first(kPage)));
  ::munmap(pages.data(), kPage);
  EXPECT_TRUE(rig.memory.Keeps(one_more));
  ::munmap(pages.data() + kPage, size - kPage);
}

TEST_F(KeptMemory, TwoWatchesDoNotDisturbEachOther) {
  KeptMemoryRig other;
  const auto pages = rig.Map(4 * kPage);
  EXPECT_EQ(CostOfTwo(pages), 1u);
  EXPECT_TRUE(other.Use(pages)) << "memory is watched by one only";
  EXPECT_EQ(other.kept_count, 0u);
  ::munmap(pages.data(), pages.size());
  const auto again = other.Map(4 * kPage, pages.data());
  EXPECT_TRUE(other.Use(again));
  EXPECT_EQ(other.kept_count, 1u);
  ::munmap(again.data(), again.size());
}

TEST(KeptMemoryEnd, MemoryIsFreeAgainThoughAChildHasTheDescriptor) {
  int pipes[2];
  ASSERT_EQ(::pipe(pipes), 0);
  absl::Span<std::byte> pages;
  pid_t child = -1;
  {
    KeptMemoryRig rig;
    pages = rig.Map(4 * kPage);
    ASSERT_TRUE(rig.Use(pages));
    child = ::fork();
    if (child == 0) {
      char byte;
      ::close(pipes[1]);
      (void)!::read(pipes[0], &byte, 1);
      ::_exit(0);
    }
  }
  EXPECT_EQ(::munmap(pages.data(), pages.size()), 0) << "and it does not wait";
  ::close(pipes[0]);
  ::close(pipes[1]);
  ::waitpid(child, nullptr, 0);
}

// --- A million tries ---

// What a thread of a program does to memory that it reads to.
class Abuser {
 public:
  Abuser(KeptMemoryRig& rig, unsigned seed) : rig_(rig), random_(seed) {}
  ~Abuser() {
    for (const auto& pages : mappings_) ::munmap(pages.data(), pages.size());
  }

  // How many of `tries` uses would have gone astray.
  uint64_t Run(uint64_t tries) {
    uint64_t stale_count = 0;
    for (uint64_t i = 0; i < tries; ++i) {
      if (i % 128 == 0) Change();
      if (!rig_.Use(Any())) ++stale_count;
    }
    return stale_count;
  }

 private:
  static constexpr size_t kMappings = 6;

  absl::Span<std::byte> Any() {
    const auto pages = mappings_[random_() % mappings_.size()];
    const size_t count = pages.size() / kPage, from = random_() % count;
    return random_() % 3 == 0
               ? pages.subspan(from * kPage, (1 + random_() % (count - from)) * kPage)
               : pages;
  }
  // Sizes that other threads have, too: so an address that one gives up is another's next.
  absl::Span<std::byte> New() { return rig_.Map((2 + random_() % 3) * kPage); }

  void Change() {
    rig_.clock.Advance(kMillisecond);
    if (mappings_.size() < kMappings) return mappings_.push_back(New());
    absl::Span<std::byte>& pages = mappings_[random_() % kMappings];
    switch (random_() % 16) {
      case 0: {
        const int advice = random_() % 2 == 0 ? MADV_DONTNEED : MADV_FREE;
        // Shared pages are not freed, and end a call that has them in its range: only what was is
        // new.
        for (size_t at = 0; at < pages.size(); at += kPage) {
          if (::madvise(pages.data() + at, kPage, advice) == 0)
            rig_.registrar.Mark(pages.subspan(at, kPage));
        }
        return;
      }
      case 1: case 2: {
        const auto hole = rig_.Map(pages.size());
        // Page by page: where a part of it is watched, it is more than one mapping to the kernel.
        for (size_t at = 0; at < pages.size(); at += kPage) {
          EXPECT_EQ(::mremap(pages.data() + at, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                             hole.data() + at), hole.data() + at);
        }
        pages = hole;
        return;
      }
      case 3: case 4:  // one page of it
        (void)rig_.Map(kPage, pages.data() + random_() % (pages.size() / kPage) * kPage);
        return;
      case 5:  // all of it, at once
        pages = rig_.Map(pages.size(), pages.data());
        return;
      case 6: {
        ::munmap(pages.data(), pages.size());
        pages = rig_.Map(pages.size(), nullptr, MAP_SHARED | MAP_ANONYMOUS);
        return;
      }
      default:
        ::munmap(pages.data(), pages.size());
        pages = New();
    }
  }

  KeptMemoryRig& rig_;
  std::mt19937 random_;
  std::vector<absl::Span<std::byte>> mappings_;
};

TEST(KeptMemoryAbuse, NoUseIsStaleInAMillionWhileThreadsMapUnmapAndMove) {
  constexpr uint64_t kTries = 1'000'000, kThreads = 3;
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  // Small limits: what is kept is thrown out all the time, too.
  KeptMemoryRig rig({.foreign_bytes = 40 * kPage, .foreign_count = 30});
  std::atomic<uint64_t> stale_count{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Abuser abuser(rig, seed + t);
      stale_count += abuser.Run(kTries / kThreads + 1);
    });
  }
  for (int i = 0; i < 20; ++i) {  // and children in between
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    ::waitpid(child, nullptr, 0);
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(stale_count, 0u);
  EXPECT_GE(rig.kept_count + rig.once_count, kTries);
  EXPECT_GT(rig.kept_count, kTries / 3) << "else it was not tried";
  EXPECT_GT(rig.memory.statistics().change_count, kTries / 200);
  EXPECT_LE(rig.cache.statistics().foreign_count, 30u);
  rig.memory.Forget({static_cast<std::byte*>(nullptr), SIZE_MAX});
  EXPECT_EQ(rig.registrar.count(), 0u) << "nothing stays pinned";
}

TEST(KeptMemoryAbuse, TenThousandPointersAgainstASmallLimitStayWithinIt) {
  constexpr size_t kSize = 3 * kPage, kPointers = 10'000, kLimit = 1 << 20;
  KeptMemoryRig rig({.foreign_bytes = kLimit, .foreign_count = 1000});
  const auto pages = rig.Map((kPointers + 2) * kPage);
  for (int turn = 0; turn < 2; ++turn) {
    for (size_t i = 0; i < kPointers; ++i) {
      ASSERT_TRUE(rig.Use(pages.subspan(i * kPage, kSize)));
      ASSERT_LE(rig.cache.statistics().foreign_bytes, kLimit);
      ASSERT_LE(rig.registrar.count(), kLimit / kSize);
    }
    ::munmap(pages.data(), pages.size());
    rig.Map(pages.size(), pages.data());
  }
  ::munmap(pages.data(), pages.size());
}

TEST(KeptMemoryAbuse, MemoryOfRealloc) {
  KeptMemoryRig rig;
  std::mt19937 random(5);
  std::byte* memory = nullptr;
  for (int i = 0; i < 2'000; ++i) {
    const size_t size = (1 + random() % 200) * kPage;
    memory = static_cast<std::byte*>(std::realloc(memory, size));
    rig.clock.Advance(kMillisecond);
    rig.registrar.Mark({memory, size});
    rig.memory.Forget({memory, size});  // its marks are new, its pages may not be
    ASSERT_TRUE(rig.Use({memory, size}));
    ASSERT_TRUE(rig.Use({memory, size}));
  }
  std::free(memory);
  EXPECT_GT(rig.kept_count, 1'000u);
}

}  // namespace
}  // namespace rdmafs::library
