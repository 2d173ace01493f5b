// Reads and writes through the layers allocate nothing in steady state: counted in operator new.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "client/stack.h"
#include "tests/client/refusing_file_system.h"
#include "transport/base/event_loop.h"
#include "transport/memory/arena.h"

namespace {
std::atomic<uint64_t> allocation_count{0};
}

void* operator new(size_t size) {
  allocation_count.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace rdmafs {
namespace {

// Answers at once, without a thought.
class ZeroFileSystem final : public RefusingFileSystem {
 public:
  void Open(const Caller&, const FileHandle&, OpenId, uint32_t, uint32_t,
            Reply<Attributes> reply) override {
    Attributes attributes{};
    attributes.size = uint64_t{1} << 40;
    reply.Complete(attributes);
  }
  void Read(ReadRequest request, Reply<Payload> reply) override {
    reply.Complete(Payload{
        request.destination.bytes.first(request.size), std::move(request.destination.hold), {}});
  }
  void Write(WriteRequest request, Reply<uint64_t> reply) override {
    reply.Complete(uint64_t{request.source.bytes.size()});
  }
};

class Allocation : public testing::Test {
 protected:
  Allocation() {
    stack_.top().Open({}, {}, kFile, O_RDWR, 0, [](Result<Attributes>) {});
  }

  void Read(uint64_t offset) {
    stack_.top().Read({kFile, offset, kSize, {absl::MakeSpan(memory_)}},
                      [this](Result<Payload> result) { read_bytes_ += result->bytes.size(); });
  }
  void Write(uint64_t offset) {
    stack_.top().Write({kFile, offset, {absl::MakeSpan(memory_)}}, [](Result<uint64_t>) {});
  }

  static constexpr OpenId kFile = 1;
  static constexpr uint32_t kSize = 64 * 1024;
  MonotonicClock clock_;
  EventLoop loop_{clock_};
  Arena arena_;
  BufferPool pool_{arena_, {}};
  InodeVersions versions_;
  ReadAheadFiles files_{versions_, SharedReadAhead({}, pool_.options(), 1)};
  ZeroFileSystem remote_;
  Stack stack_ = BuildStack({remote_, loop_, pool_, files_}, {{.mode = ReadAheadMode::kOn}, {}});
  std::vector<std::byte> memory_ = std::vector<std::byte>(kSize);
  uint64_t read_bytes_ = 0;
};

TEST_F(Allocation, SequentialReadsAndTheirFetchesAllocateNothing) {
  uint64_t i = 0;
  for (; i < 1000; ++i) Read(i * kSize);
  const uint64_t before = allocation_count;
  for (; i < 3000; ++i) Read(i * kSize);
  EXPECT_EQ(allocation_count, before);
  EXPECT_EQ(read_bytes_, 3000 * uint64_t{kSize});
  EXPECT_EQ(stack_.read_ahead()->hits, 2998u);
}

TEST_F(Allocation, RandomReadsAndWritesAllocateNothing) {
  for (uint64_t i = 0; i < 100; ++i) {
    Read(i * i * 3 * kSize);
    Write(i * i * kSize);
  }
  const uint64_t before = allocation_count;
  for (uint64_t i = 0; i < 1000; ++i) {
    Read(i * i * 7 * kSize);
    Write(i * i * kSize);
  }
  EXPECT_EQ(allocation_count, before);
}

}  // namespace
}  // namespace rdmafs
