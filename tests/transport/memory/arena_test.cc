// Arena: aligned slabs that every observer is told of.
#include "transport/memory/arena.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace rdmafs {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(Arena, SlabsAreRoundedUpAlignedAndZero) {
  Arena arena;
  Arena::Slab slab = arena.Add(3 * kMiB);
  ASSERT_EQ(slab.size(), 4 * kMiB);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(slab.data()) % (2 * kMiB), 0u);
  for (size_t i = 0; i < slab.size(); i += 4096) ASSERT_EQ(slab[i], std::byte{0});
  std::memset(slab.data(), 0xff, slab.size());
  EXPECT_EQ(arena.size_bytes(), 4 * kMiB);
}

// proc(5): the flags of the mapping that `address` lies in.
std::string MappingFlags(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<uintptr_t>(address);
      inside = begin <= at && at < end;
    } else if (inside && line.starts_with("VmFlags:")) {
      return line + ' ';
    }
  }
  return "";
}

TEST(Arena, SlabsAskForHugePages) {
  Arena arena;
  Arena::Slab slab = arena.Add(kMiB);
  const std::string flags = MappingFlags(slab.data());
  const bool reserved = flags.find(" ht ") != std::string::npos;
  const bool transparent = flags.find(" hg ") != std::string::npos;
  const bool kernel_has_them = access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
  EXPECT_EQ(reserved || transparent, reserved || kernel_has_them) << flags;
}

TEST(Arena, AnObserverIsToldOfAllSlabsUntilItIsRemoved) {
  Arena arena;
  Arena::Slab first = arena.Add(kMiB);
  std::vector<std::byte*> seen;
  const int id = arena.AddObserver([&](Arena::Slab slab) { seen.push_back(slab.data()); });
  EXPECT_EQ(seen, std::vector<std::byte*>{first.data()});
  Arena::Slab second = arena.Add(kMiB);
  EXPECT_EQ(seen, (std::vector<std::byte*>{first.data(), second.data()}));
  arena.RemoveObserver(id);
  arena.Add(kMiB);
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Arena, PagesCanBeRenewedWhileNobodyHasToKnowOfThem) {
  Arena arena;
  const std::string flags = MappingFlags(arena.Add(kMiB).data());
  const bool reserved = flags.find(" ht ") != std::string::npos;
  EXPECT_EQ(arena.renewable(), !reserved) << flags;
  const int id = arena.AddObserver([](Arena::Slab) {});
  EXPECT_FALSE(arena.renewable());
  arena.RemoveObserver(id);
  EXPECT_EQ(arena.renewable(), !reserved);
}

TEST(Arena, RenewedPagesHaveTheSameBytesAndLeaveTheOldOnesToTheKernel) {
  Arena arena;
  Arena::Slab slab = arena.Add(4 * kMiB);
  constexpr ssize_t kSize = 40'960;  // no multiple of what is renewed at a time
  ASSERT_TRUE(arena.renewable()) << "this host has free pages in /proc/sys/vm/nr_hugepages";
  std::memset(slab.data(), 'a', slab.size());
  const absl::Span<std::byte> pages = slab.subspan(kMiB, kSize);
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const iovec part{pages.data(), pages.size()};
  ASSERT_EQ(vmsplice(pipe_ends[1], &part, 1, 0), kSize);
  arena.Renew(pages);
  for (size_t i = 0; i < slab.size(); ++i) ASSERT_EQ(slab[i], std::byte{'a'}) << i;
  std::memset(slab.data(), 'b', slab.size());
  std::string referred_to(pages.size(), '\0');
  ASSERT_EQ(read(pipe_ends[0], referred_to.data(), referred_to.size()), kSize);
  EXPECT_EQ(referred_to, std::string(pages.size(), 'a'));
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST(Arena, WithoutMemoryTheSlabIsEmpty) {
  Arena arena;
  EXPECT_TRUE(arena.Add(size_t{1} << 50).empty());
  EXPECT_EQ(arena.size_bytes(), 0u);
}

}  // namespace
}  // namespace rdmafs
