// Reads and writes through the library: what arrives, by which way, and what is copied.
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>

#include "tests/client/library/library_fixture.h"

namespace rdmafs::library {
namespace {

constexpr size_t kKi = 1024, kMi = 1024 * 1024;

// --- Reads and writes ---

TEST_P(LibraryTest, ReadsOfEverySizeGiveWhatTheFileHas) {
  const std::string content = Pattern(5 * kMi + 123);
  Put("f", content);
  rdmafs_file* file = Open("f", O_RDONLY);
  for (size_t size : {size_t{0}, size_t{1}, 4 * kKi, 4 * kKi + 1, 64 * kKi, 64 * kKi + 1, kMi,
                      kMi + 1, 5 * kMi + 123, 6 * kMi}) {
    for (uint64_t offset : {uint64_t{0}, uint64_t{4097}, uint64_t{5 * kMi}, uint64_t{9 * kMi}}) {
      std::string got(size, 'x');
      const std::string expected =
          offset < content.size() ? content.substr(offset, size) : std::string();
      ASSERT_EQ(rdmafs_readto(file, got.data(), size, offset, nullptr),
                static_cast<int64_t>(expected.size()));
      got.resize(expected.size());
      ASSERT_TRUE(got == expected) << size << " at " << offset;
    }
  }
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, WritesOfEverySizeArriveInTheFile) {
  std::string expected;
  rdmafs_file* file = Open("f", O_RDWR | O_CREAT);
  for (size_t size : {size_t{1}, 4 * kKi, 4 * kKi + 1, 64 * kKi, 64 * kKi + 1, kMi + 1, 3 * kMi}) {
    const std::string part = Pattern(size, static_cast<unsigned>(size));
    ASSERT_EQ(rdmafs_writefrom(file, part.data(), size, expected.size(), nullptr),
              static_cast<int64_t>(size));
    expected += part;
  }
  EXPECT_EQ(rdmafs_fsync(file, 0, nullptr), 0);
  EXPECT_TRUE(Get("f") == expected);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, VectorsAreReadAndWrittenPieceByPiece) {
  const std::string content = Pattern(kMi);
  rdmafs_file* file = Open("f", O_RDWR | O_CREAT);
  std::string copy = content;
  const iovec out[] = {{copy.data(), 10}, {copy.data() + 10, 0}, {copy.data() + 10, 300 * kKi},
                       {copy.data() + 10 + 300 * kKi, kMi - 10 - 300 * kKi}};
  EXPECT_EQ(rdmafs_writefromv(file, out, 4, 0, nullptr), static_cast<int64_t>(kMi));
  EXPECT_TRUE(Get("f") == content);
  std::string first(100 * kKi, 0), second(kMi, 0);
  const iovec in[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  EXPECT_EQ(rdmafs_readtov(file, in, 2, 0, nullptr), static_cast<int64_t>(kMi)) << "to the end";
  second.resize(kMi - 100 * kKi);
  EXPECT_TRUE(first + second == content);
  EXPECT_EQ(rdmafs_readtov(file, in, -1, 0, nullptr), -EINVAL);
  EXPECT_EQ(rdmafs_readtov(file, in, 1025, 0, nullptr), -EINVAL);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, AFileIsUsedOnlyForWhatItWasOpenedFor) {
  Put("f", Pattern(kMi));
  rdmafs_file* writable = Open("f", O_WRONLY);
  rdmafs_file* readable = Open("f", O_RDONLY);
  std::string bytes(64 * kKi, 0);
  rdmafs_buffer buffer;
  for (size_t size : {size_t{1}, 64 * kKi}) {
    EXPECT_EQ(rdmafs_readto(writable, bytes.data(), size, 0, nullptr), -EBADF);
    EXPECT_EQ(rdmafs_writefrom(readable, bytes.data(), size, 0, nullptr), -EBADF);
  }
  EXPECT_EQ(rdmafs_read_pool(writable, kMi, 0, &buffer, nullptr), -EBADF);
  ASSERT_EQ(rdmafs_read_pool(readable, kMi, 0, &buffer, nullptr), int64_t{kMi});
  EXPECT_EQ(rdmafs_write_pool(readable, &buffer, 0, kMi, 0, nullptr), -EBADF);
  EXPECT_EQ(rdmafs_write_pool(writable, &buffer, 0, kMi, 0, nullptr), int64_t{kMi});
  EXPECT_EQ(rdmafs_buffer_consumed(fs_, &buffer), 0);
  EXPECT_EQ(rdmafs_close(writable) + rdmafs_close(readable), 0);
  EXPECT_TRUE(Get("f") == Pattern(kMi));
}

// --- Ways and copies ---

TEST_P(LibraryTest, RegisteredMemoryIsReadToAndWrittenFromWithoutACopy) {
  Put("f", Pattern(4 * kMi));
  rdmafs_file* file = Open("f");
  std::string memory(4 * kMi, 0);
  ASSERT_EQ(rdmafs_register(fs_, memory.data(), memory.size(), RDMAFS_READTO | RDMAFS_WRITEFROM),
            0);
  for (size_t size : {8 * kKi, 64 * kKi, kMi, 4 * kMi}) {
    ASSERT_EQ(rdmafs_readto(file, memory.data(), size, 0, nullptr), static_cast<int64_t>(size));
    ASSERT_EQ(rdmafs_writefrom(file, memory.data(), size, 0, nullptr), static_cast<int64_t>(size));
  }
  EXPECT_TRUE(Get("f") == Pattern(4 * kMi));
  const rdmafs_statistics statistics = Statistics();
  EXPECT_EQ(statistics.copied_bytes, 0u);
  EXPECT_EQ(statistics.call_registrations, 0u);
  EXPECT_EQ(statistics.direct_bytes, 2 * (8 * kKi + 64 * kKi + 5 * kMi));
  EXPECT_EQ(statistics.registered_bytes, 4 * kMi);
  EXPECT_EQ(rdmafs_disconnect(fs_), -EBUSY) << "memory is registered";
  ASSERT_EQ(rdmafs_unregister(fs_, memory.data(), memory.size()), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, PlainMemoryGoesThroughABounceBufferUpTo64KiBAndIsRegisteredForTheCallAbove) {
  Put("f", Pattern(4 * kMi));
  rdmafs_file* file = Open("f");
  std::string memory(4 * kMi, 0);
  ASSERT_EQ(rdmafs_readto(file, memory.data(), 64 * kKi, 0, nullptr), int64_t{64 * kKi});
  EXPECT_EQ(Statistics().bounced_bytes, registers() ? 64 * kKi : 0);
  EXPECT_EQ(Statistics().call_registrations, 0u);
  ASSERT_EQ(rdmafs_readto(file, memory.data(), 64 * kKi + 1, 0, nullptr), int64_t{64 * kKi + 1});
  EXPECT_EQ(Statistics().call_registrations, registers() ? 1u : 0u);
  ASSERT_EQ(rdmafs_writefrom(file, memory.data(), 64 * kKi + 1, 0, nullptr), int64_t{64 * kKi + 1});
  EXPECT_EQ(Statistics().call_registrations, registers() ? 2u : 0u);
  EXPECT_EQ(Statistics().copied_bytes, registers() ? 64 * kKi : 0) << "at most the bounced ones";
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, WithMrCacheUffdPlainMemoryIsRegisteredForManyCalls) {
  const std::string content = Pattern(kMi);
  Put("f", content);
  ASSERT_EQ(rdmafs_disconnect(fs_), 0);
  options_.mr_cache = "uffd";
  fs_ = Connect();
  ASSERT_NE(fs_, nullptr);
  rdmafs_file* file = Open("f");
  constexpr int kTurns = 20;
  const auto map = [](void* where) {
    return static_cast<char*>(
        ::mmap(where, kMi, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | (where != nullptr ? MAP_FIXED : 0), -1, 0));
  };
  char* memory = map(nullptr);
  const uint64_t before = Statistics().memory_registrations;
  for (int i = 0; i < kTurns; ++i) {
    ASSERT_EQ(rdmafs_readto(file, memory, kMi, 0, nullptr), int64_t{kMi});
    ASSERT_EQ(std::memcmp(memory, content.data(), kMi), 0);
    ASSERT_EQ(rdmafs_writefrom(file, memory, kMi, 0, nullptr), int64_t{kMi});
  }
  EXPECT_EQ(Statistics().call_registrations, 0u);
  // One for each direction (and, on iWARP, each connection).
  EXPECT_LE(Statistics().memory_registrations - before, name() == "rdma" ? 4u : 0u);
  EXPECT_EQ(Statistics().watched_bytes, registers() ? kMi : 0);
  for (int i = 0; i < kTurns; ++i) {
    ASSERT_EQ(map(memory), memory);
    ASSERT_EQ(rdmafs_readto(file, memory, kMi, 0, nullptr), int64_t{kMi});
    ASSERT_EQ(std::memcmp(memory, content.data(), kMi), 0) << "turn " << i;
  }
  EXPECT_EQ(Statistics().mapping_changes, registers() ? uint64_t{kTurns} : 0);
  EXPECT_EQ(Statistics().copied_bytes, 0u);
  EXPECT_EQ(rdmafs_close(file), 0);
  ::munmap(memory, kMi);
}

TEST_P(LibraryTest, SmallDataComeWithTheMessageAndAreCopiedOnce) {
  Put("f", Pattern(4 * kKi));
  rdmafs_file* file = Open("f");
  char data[4 * kKi];
  ASSERT_EQ(rdmafs_readto(file, data, sizeof data, 0, nullptr), int64_t{sizeof data});
  ASSERT_EQ(rdmafs_writefrom(file, data, sizeof data, 0, nullptr), int64_t{sizeof data});
  EXPECT_EQ(Statistics().inline_bytes, 2 * sizeof data);
  EXPECT_EQ(Statistics().copied_bytes, 2 * sizeof data);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, AnEmptyPoolMakesPlainReadsSlowerAndNoErrors) {
  Put("f", Pattern(kMi));
  rdmafs_file* file = Open("f");
  std::vector<rdmafs_buffer> taken;
  rdmafs_buffer buffer;
  while (rdmafs_read_pool(file, 8 * kKi, 0, &buffer, nullptr) > 0) taken.push_back(buffer);
  EXPECT_GE(taken.size(), 3u);
  std::string memory(64 * kKi, 0);
  for (int i = 0; i < 4; ++i)  // whichever of the library's threads they come to
    EXPECT_EQ(rdmafs_readto(file, memory.data(), memory.size(), 0, nullptr), int64_t{64 * kKi});
  EXPECT_TRUE(memory == Pattern(kMi).substr(0, 64 * kKi));
  EXPECT_EQ(rdmafs_writefrom(file, memory.data(), 100, 0, nullptr), 100);
  for (const rdmafs_buffer& each : taken) EXPECT_EQ(rdmafs_buffer_consumed(fs_, &each), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
}

// --- The library's memory ---

TEST_P(LibraryTest, APoolReadHandsOverABufferWithoutACopy) {
  const std::string content = Pattern(3 * kMi);
  Put("f", content);
  rdmafs_file* file = Open("f");
  const uint64_t available = Statistics().buffers_available;
  rdmafs_buffer buffer;
  ASSERT_EQ(rdmafs_read_pool(file, kMi, kMi, &buffer, nullptr), int64_t{kMi});
  ASSERT_EQ(buffer.size, kMi);
  EXPECT_EQ(std::memcmp(buffer.data, content.data() + kMi, kMi), 0);
  rdmafs_statistics statistics = Statistics();
  EXPECT_EQ(statistics.buffers_being_consumed, 1u);
  EXPECT_EQ(statistics.buffers_available, available - 1);
  EXPECT_EQ(statistics.copied_bytes, 0u);
  EXPECT_EQ(rdmafs_buffer_consumed(fs_, &buffer), 0);
  EXPECT_EQ(Statistics().buffers_being_consumed, 0u);
  // The library's thread may still be at the end of the call that brought it.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (Statistics().buffers_available != available &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_EQ(Statistics().buffers_available, available);
  EXPECT_EQ(rdmafs_read_pool(file, kMi + 1, 0, &buffer, nullptr), -EINVAL);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, ABufferIsWrittenFromAndMayBeGivenBackMeanwhile) {
  const std::string content = Pattern(kMi);
  Put("f", content);
  rdmafs_file* file = Open("f");
  rdmafs_file* copy = Open("copy", O_RDWR | O_CREAT);
  for (uint64_t at = 0; at < kMi; at += 128 * kKi) {
    rdmafs_buffer buffer;
    ASSERT_EQ(rdmafs_read_pool(file, 128 * kKi, at, &buffer, nullptr), int64_t{128 * kKi});
    std::atomic<int64_t> written{0};
    rdmafs_call call{};
    call.user = &written;
    call.done = [](rdmafs_call* done, int64_t result) {
      *static_cast<std::atomic<int64_t>*>(done->user) = result;
    };
    ASSERT_EQ(rdmafs_write_pool(copy, &buffer, 0, 128 * kKi, at, &call), 0);
    EXPECT_EQ(rdmafs_buffer_consumed(fs_, &buffer), 0);
    EXPECT_EQ(rdmafs_write_pool(copy, &buffer, 0, 1, at, nullptr), -EINVAL);
    while (rdmafs_process(fs_, 1) == 0) {
      pollfd waits{rdmafs_event_fd(fs_), POLLIN, 0};
      ::poll(&waits, 1, -1);
    }
    EXPECT_EQ(written, int64_t{128 * kKi});
  }
  EXPECT_TRUE(Get("copy") == content);
  EXPECT_EQ(Statistics().copied_bytes, 0u);
  EXPECT_EQ(Statistics().buffers_being_returned, 0u);
  EXPECT_EQ(rdmafs_close(file) + rdmafs_close(copy), 0);
}

TEST_P(LibraryTest, MisuseOfBuffersIsRefusedAndCounted) {
  Put("f", Pattern(kMi));
  rdmafs_file* file = Open("f");
  rdmafs_buffer buffer;
  ASSERT_GT(rdmafs_read_pool(file, kMi, 0, &buffer, nullptr), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(static_cast<char*>(buffer.data)[0], Pattern(1)[0]) << "it outlives the file";
  EXPECT_EQ(rdmafs_disconnect(fs_), -EBUSY) << "a leak is found out";
  EXPECT_EQ(rdmafs_buffer_consumed(fs_, &buffer), 0) << "a return after close is none";
  EXPECT_EQ(rdmafs_buffer_consumed(fs_, &buffer), -EINVAL) << "a second one is";
  const rdmafs_buffer never{nullptr, 0, 12345};
  EXPECT_EQ(rdmafs_buffer_consumed(fs_, &never), -EINVAL);
  EXPECT_EQ(Statistics().buffers_misused, 2u);
}

TEST_P(LibraryTest, AFailedPoolReadKeepsNoBuffer) {
  rdmafs_file* file = Open("f", O_RDWR | O_CREAT);
  rdmafs_buffer buffer;
  EXPECT_EQ(rdmafs_read_pool(file, kMi, uint64_t{1} << 63, &buffer, nullptr), -EINVAL);
  EXPECT_EQ(Statistics().buffers_in_transmission + Statistics().buffers_being_consumed, 0u);
  EXPECT_EQ(rdmafs_close(file), 0);
}

// --- Read-ahead ---

TEST_P(LibraryTest, ReadAheadCostsAtMostOneCopyForEachByte) {
  const std::string content = Pattern(16 * kMi);
  Put("f", content);
  options_.read_ahead = 1;
  options_.pool_bytes = uint64_t{32} << 20;
  ASSERT_EQ(rdmafs_disconnect(fs_), 0);
  fs_ = Connect();
  ASSERT_NE(fs_, nullptr);
  rdmafs_file* file = Open("f", O_RDONLY);
  std::string piece(64 * kKi, 0);
  for (uint64_t at = 0; at < content.size(); at += piece.size()) {
    ASSERT_EQ(rdmafs_readto(file, piece.data(), piece.size(), at, nullptr), int64_t{64 * kKi});
    ASSERT_EQ(std::memcmp(piece.data(), content.data() + at, piece.size()), 0);
  }
  EXPECT_GT(Statistics().read_ahead_bytes, content.size() / 2);
  EXPECT_LE(Statistics().copied_bytes, content.size());
  EXPECT_EQ(rdmafs_close(file), 0);
}

// --- Calls that do not wait ---

TEST_P(LibraryTest, ManyCallsAreUnderWayAtOnceAndEachIsDoneOnce) {
  constexpr size_t kCalls = 200, kSize = 32 * kKi;
  const std::string content = Pattern(kCalls * kSize);
  Put("f", content);
  rdmafs_file* file = Open("f");
  struct Call : rdmafs_call {
    int64_t result = 0;
    int done_count = 0;
  };
  std::vector<Call> calls(kCalls);
  std::string memory(kCalls * kSize, 0);
  for (size_t i = 0; i < kCalls; ++i) {
    *static_cast<rdmafs_call*>(&calls[i]) = {};
    calls[i].done = [](rdmafs_call* call, int64_t result) {
      static_cast<Call*>(call)->result = result;
      ++static_cast<Call*>(call)->done_count;
    };
    ASSERT_EQ(rdmafs_readto(file, memory.data() + i * kSize, kSize, i * kSize, &calls[i]), 0);
  }
  EXPECT_EQ(rdmafs_close(file), -EBUSY) << "calls are under way";
  for (size_t left = kCalls; left != 0;) {
    pollfd waits{rdmafs_event_fd(fs_), POLLIN, 0};
    ASSERT_EQ(::poll(&waits, 1, 30'000), 1);
    left -= static_cast<size_t>(rdmafs_process(fs_, 16));
  }
  for (const Call& call : calls) {
    EXPECT_EQ(call.result, int64_t{kSize});
    EXPECT_EQ(call.done_count, 1);
  }
  EXPECT_TRUE(memory == content);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, ThreadsMayShareAFile) {
  const std::string content = Pattern(2 * kMi);
  Put("f", content);
  rdmafs_file* file = Open("f");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::string got(100 * kKi, 0);
      for (unsigned i = 0; i < 30; ++i) {
        const size_t at = (t * 7919 + i * 104729) % (2 * kMi - got.size());
        if (rdmafs_readto(file, got.data(), got.size(), at, nullptr) !=
                static_cast<int64_t>(got.size()) ||
            got != content.substr(at, got.size()))
          ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(rdmafs_close(file), 0);
}

// --- Memory that cannot be ---

TEST_P(LibraryTest, MemoryThatIsNotThereOrReadOnlyIsEfaultAndNothingElseHappens) {
  Put("f", Pattern(kMi));
  rdmafs_file* file = Open("f");
  auto* memory = static_cast<char*>(
      ::mmap(nullptr, kMi, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(rdmafs_readto(file, memory, kMi, 0, nullptr), int64_t{kMi});
  ::mprotect(memory, kMi, PROT_READ);
  for (size_t size : {size_t{1}, 4 * kKi, 64 * kKi, kMi}) {
    EXPECT_EQ(rdmafs_readto(file, memory, size, 0, nullptr), -EFAULT) << size;
    EXPECT_EQ(rdmafs_writefrom(file, memory, size, 0, nullptr), static_cast<int64_t>(size));
  }
  ::munmap(memory, kMi);
  for (size_t size : {size_t{1}, 4 * kKi, 64 * kKi, kMi}) {
    EXPECT_EQ(rdmafs_readto(file, memory, size, 0, nullptr), -EFAULT) << size;
    EXPECT_EQ(rdmafs_writefrom(file, memory, size, 0, nullptr), -EFAULT) << size;
  }
  EXPECT_TRUE(Get("f") == Pattern(kMi));
  EXPECT_EQ(Statistics().reconnects, 0u);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryTest, AChildOfForkIsRefusedAndTheParentGoesOn) {
  Put("f", Pattern(kMi));
  rdmafs_file* file = Open("f");
  const pid_t child = ::fork();
  if (child == 0) {
    char byte;
    rdmafs_file* other;
    const bool refused = rdmafs_readto(file, &byte, 1, 0, nullptr) == -ECHILD &&
                         rdmafs_open(fs_, "f", O_RDONLY, 0, &other, nullptr) == -ECHILD &&
                         rdmafs_close(file) == -ECHILD && rdmafs_disconnect(fs_) == -ECHILD;
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  std::string got(kMi, 0);
  EXPECT_EQ(rdmafs_readto(file, got.data(), kMi, 0, nullptr), int64_t{kMi});
  EXPECT_TRUE(got == Pattern(kMi));
  EXPECT_EQ(rdmafs_close(file), 0);
}

}  // namespace
}  // namespace rdmafs::library
