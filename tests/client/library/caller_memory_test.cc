#include "client/library/caller_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "client/include/rdmafs/rdmafs.h"
#include "tests/client/library/memory_transport.h"

namespace rdmafs::library {
namespace {

constexpr size_t kPage = 4096;
constexpr int kBoth = RDMAFS_READTO | RDMAFS_WRITEFROM;

class Mapping {
 public:
  explicit Mapping(size_t size, int protection = PROT_READ | PROT_WRITE)
      : bytes(static_cast<std::byte*>(
                  ::mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
              size) {}
  ~Mapping() { ::munmap(bytes.data(), bytes.size()); }
  const absl::Span<std::byte> bytes;
};

TEST(CheckMapped, OrdinaryMemoryMayBeReadAndWritten) {
  Mapping mapping(3 * kPage);
  char stack[100];
  for (Direction direction : {Direction::kReadTo, Direction::kWriteFrom}) {
    EXPECT_EQ(CheckMapped(mapping.bytes.subspan(10, 5000), direction), kOk);
    EXPECT_EQ(CheckMapped({reinterpret_cast<std::byte*>(stack), sizeof stack}, direction), kOk);
    EXPECT_EQ(CheckMapped({}, direction), kOk);
  }
}

TEST(CheckMapped, ReadOnlyMemoryIsNoPlaceToReadTo) {
  Mapping mapping(2 * kPage, PROT_READ);
  EXPECT_EQ(CheckMapped(mapping.bytes, Direction::kReadTo), Errno(EFAULT));
  EXPECT_EQ(CheckMapped(mapping.bytes, Direction::kWriteFrom), kOk);
}

TEST(CheckMapped, MemoryThatIsNotThereOrNotAllThereIsEfault) {
  Mapping mapping(4 * kPage);
  ::munmap(mapping.bytes.data() + 2 * kPage, kPage);
  EXPECT_EQ(CheckMapped(mapping.bytes, Direction::kReadTo), Errno(EFAULT));
  EXPECT_EQ(CheckMapped(mapping.bytes, Direction::kWriteFrom), Errno(EFAULT));
  EXPECT_EQ(CheckMapped({nullptr, 10}, Direction::kReadTo), Errno(EFAULT));
  EXPECT_EQ(CheckMapped({reinterpret_cast<std::byte*>(UINTPTR_MAX - 5), 10}, Direction::kReadTo),
            Errno(EFAULT));
  EXPECT_EQ(CheckMapped(mapping.bytes.first(2 * kPage), Direction::kReadTo), kOk);
}

// Counts what it is asked to do.
class CountingTransport final : public MemoryTransport {
 public:
  Result<std::vector<MemoryRegionCache::Pin>> PinMemory(absl::Span<std::byte>,
                                                        MemoryAccess access) override {
    pinned.push_back(access);
    if (!error.ok()) return error;
    return std::vector<MemoryRegionCache::Pin>();
  }
  void ForgetMemory(absl::Span<const std::byte> memory) override { forgotten.push_back(memory); }

  std::vector<MemoryAccess> pinned;
  std::vector<absl::Span<const std::byte>> forgotten;
  Errno error;
};

class CallerMemoryTest : public testing::Test {
 protected:
  CountingTransport transport;
  CallerMemory memory{nullptr, &transport};
  Mapping mapping{8 * kPage};
  const absl::Span<std::byte> range = mapping.bytes.subspan(kPage, 4 * kPage);
};

TEST_F(CallerMemoryTest, ARangeIsPinnedForTheDirectionsThatItIsRegisteredFor) {
  ASSERT_EQ(memory.Register(range, RDMAFS_READTO), kOk);
  EXPECT_EQ(transport.pinned, std::vector<MemoryAccess>{MemoryAccess::kRemoteWrite});
  EXPECT_EQ(memory.Begin(range, Direction::kWriteFrom).range.size(), 0u);
  const CallerMemory::Use use = memory.Begin(range.subspan(7, 100), Direction::kReadTo);
  EXPECT_EQ(use.range, range) << "the range as a whole is what has keys";
  memory.End(use);
}

TEST_F(CallerMemoryTest, WhatIsNotInsideOneRangeIsNotRegistered) {
  ASSERT_EQ(memory.Register(range, kBoth), kOk);
  for (const auto& [from, size] :
       {std::pair{0, 10}, std::pair{4090, 10}, std::pair{5 * 4096 - 5, 10}, std::pair{5 * 4096, 1},
        std::pair{0, 8 * 4096}}) {
    EXPECT_TRUE(memory.Begin(mapping.bytes.subspan(from, size), Direction::kReadTo).range.empty())
        << from << "+" << size;
  }
}

TEST_F(CallerMemoryTest, RangesThatTouchEachOtherAreRefused) {
  ASSERT_EQ(memory.Register(range, kBoth), kOk);
  for (const auto& [from, size] : {std::pair{4096, 16384}, std::pair{0, 4097}, std::pair{8192, 1},
                                   std::pair{5 * 4096 - 1, 100}, std::pair{0, 8 * 4096}}) {
    EXPECT_EQ(memory.Register(mapping.bytes.subspan(from, size), kBoth), Errno(EEXIST));
  }
  EXPECT_EQ(memory.Register(mapping.bytes.first(kPage), kBoth), kOk) << "next to it is no touch";
  EXPECT_EQ(memory.Register(mapping.bytes.subspan(5 * kPage, 10), kBoth), kOk);
  EXPECT_EQ(memory.statistics().range_count, 3u);
  EXPECT_EQ(memory.statistics().range_bytes, 5 * kPage + 10);
}

TEST_F(CallerMemoryTest, AnUnregisteredRangeIsForgottenByTheTransport) {
  ASSERT_EQ(memory.Register(range, kBoth), kOk);
  ASSERT_EQ(memory.Unregister(range), kOk);
  ASSERT_EQ(transport.forgotten.size(), 1u);
  EXPECT_EQ(transport.forgotten[0], range);
  EXPECT_EQ(memory.statistics().range_count, 0u);
  EXPECT_EQ(memory.Unregister(range), Errno(ENOENT));
  EXPECT_EQ(memory.Register(range, kBoth), kOk);
}

TEST_F(CallerMemoryTest, OnlyARangeAsItWasRegisteredIsUnregistered) {
  ASSERT_EQ(memory.Register(range, kBoth), kOk);
  EXPECT_EQ(memory.Unregister(range.first(100)), Errno(ENOENT));
  EXPECT_EQ(memory.Unregister(range.subspan(1)), Errno(ENOENT));
}

TEST_F(CallerMemoryTest, ARangeThatATransferUsesStays) {
  ASSERT_EQ(memory.Register(range, kBoth), kOk);
  const CallerMemory::Use first = memory.Begin(range, Direction::kReadTo);
  const CallerMemory::Use second = memory.Begin(range.first(1), Direction::kWriteFrom);
  EXPECT_EQ(memory.Unregister(range), Errno(EBUSY));
  memory.End(first);
  EXPECT_EQ(memory.Unregister(range), Errno(EBUSY));
  memory.End(second);
  EXPECT_EQ(memory.Unregister(range), kOk);
}

TEST_F(CallerMemoryTest, WhatCannotBePinnedIsNotRegistered) {
  transport.error = Errno(ENOMEM);
  EXPECT_EQ(memory.Register(range, kBoth), Errno(ENOMEM));
  EXPECT_EQ(memory.statistics().range_bytes, 0u);
  transport.error = kOk;
  EXPECT_EQ(memory.Register(range, kBoth), kOk);
}

TEST_F(CallerMemoryTest, ReadOnlyMemoryIsRegisteredForWritesFromItOnly) {
  ::mprotect(range.data(), range.size(), PROT_READ);
  EXPECT_EQ(memory.Register(range, RDMAFS_READTO), Errno(EFAULT));
  EXPECT_EQ(memory.Register(range, kBoth), Errno(EFAULT));
  EXPECT_EQ(memory.Register(range, RDMAFS_WRITEFROM), kOk);
}

TEST_F(CallerMemoryTest, NonsenseIsRefused) {
  EXPECT_EQ(memory.Register({}, kBoth), Errno(EINVAL));
  EXPECT_EQ(memory.Register(range, 0), Errno(EINVAL));
  EXPECT_EQ(memory.Register(range, 4), Errno(EINVAL));
  EXPECT_EQ(memory.Register({nullptr, 10}, kBoth), Errno(EFAULT));
}

}  // namespace
}  // namespace rdmafs::library
