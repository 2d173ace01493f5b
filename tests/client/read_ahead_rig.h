// ReadAheadRig: shards' stacks with read-ahead over one MemoryFileSystem, and readers that check
// what they get.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/stack.h"
#include "tests/client/memory_file_system.h"
#include "tests/transport/base/manual_clock.h"
#include "transport/base/event_loop.h"
#include "transport/memory/arena.h"

namespace rdmafs {

// The byte that a new file has at `offset`.
inline std::byte PatternAt(uint64_t offset) {
  return static_cast<std::byte>((offset * 0x9E3779B97F4A7C15u) >> 56);
}

// All on one thread; the shards' loop is one, run by Settle(), and so is their pool.
class ReadAheadRig {
 public:
  struct Setup {
    size_t shard_count = 1;
    ReadAheadOptions read_ahead{.mode = ReadAheadMode::kOn};
    uint64_t pool_bytes = uint64_t{128} << 20;
  };
  // The answer of a read, when it came.
  struct Answer {
    std::unique_ptr<std::byte[]> memory;  // where it may land
    std::optional<Result<Payload>> result;
    bool done() const { return result.has_value(); }
    bool ok() const { return done() && result->ok(); }
    absl::Span<const std::byte> bytes() const { return result->value().bytes; }
  };

  ReadAheadRig() : ReadAheadRig(Setup{}) {}
  explicit ReadAheadRig(const Setup& setup)
      : pool(arena, {.cap_bytes = setup.pool_bytes, .slab_bytes = size_t{4} << 20}),
        read_ahead(versions, SharedReadAhead(setup.read_ahead, pool.options(), 1)) {
    for (size_t i = 0; i < setup.shard_count; ++i) {
      remotes.push_back(std::make_unique<MemoryFileSystem::Next>(files));
      stacks.push_back(
          BuildStack({*remotes.back(), loop, pool, read_ahead}, {setup.read_ahead, {}}));
    }
  }
  ~ReadAheadRig() {
    files.AnswerAll();
    Settle();
  }

  void Make(const std::string& name, uint64_t size) {
    std::vector<std::byte>& content = files.file(name).content;
    content.resize(size);
    for (uint64_t i = 0; i < size; ++i) content[i] = PatternAt(i);
  }
  FileSystem& top(size_t shard = 0) { return stacks[shard].top(); }
  const ReadAheadStatistics& statistics(size_t shard = 0) { return *stacks[shard].read_ahead(); }
  void Settle() {
    while (loop.RunOnce(0) && ++rounds % 4 != 0) {
    }
  }

  OpenId Open(const std::string& name, uint32_t flags = 0, size_t shard = 0) {
    const OpenId id = top(shard).NewOpenId();
    top(shard).Open({}, files.HandleOf(name), id, flags, 0, [](Result<Attributes>) {});
    files.AnswerAll();
    return id;
  }
  void Release(OpenId id, size_t shard = 0) {
    top(shard).Release(id, [](Result<Unit>) {});
    files.AnswerAll();
    Settle();
  }
  // Starts a read into memory of its own. The answer is the rig's, and stays.
  Answer* Start(OpenId id, uint64_t offset, uint32_t size, size_t shard = 0) {
    answers.push_back(std::make_unique<Answer>());
    Answer* answer = answers.back().get();
    answer->memory = std::make_unique<std::byte[]>(size);
    top(shard).Read(
        {id, offset, size, {{answer->memory.get(), size}}},
        [answer](Result<Payload> result) { answer->result.emplace(std::move(result)); });
    return answer;
  }
  // A read to its end; everything that is under way is answered.
  Answer* Read(OpenId id, uint64_t offset, uint32_t size, size_t shard = 0) {
    Answer* answer = Start(id, offset, size, shard);
    files.AnswerAll();
    for (int i = 0; i < 8 && !answer->done(); ++i) {  // it waited for what another shard fetched
      Settle();
      files.AnswerAll();
    }
    return answer;
  }
  // Whether a read gives what the file has now. Its answer is not kept.
  bool ReadsRight(const std::string& name, OpenId id, uint64_t offset, uint32_t size,
                  size_t shard = 0) {
    const Answer* answer = Read(id, offset, size, shard);
    const std::vector<std::byte>& content = files.file(name).content;
    offset = std::min<uint64_t>(offset, content.size());
    const size_t there = std::min<size_t>(size, content.size() - offset);
    const bool right =
        answer->ok() && answer->bytes().size() == there &&
        std::equal(answer->bytes().begin(), answer->bytes().end(), content.begin() + offset);
    answers.pop_back();
    return right;
  }
  void Write(OpenId id, uint64_t offset, std::vector<std::byte> bytes, size_t shard = 0) {
    top(shard).Write({id, offset, {absl::MakeSpan(bytes)}}, [](Result<uint64_t>) {});
    files.AnswerAll();
  }

  ManualClock clock;
  EventLoop loop{clock};
  Arena arena;
  BufferPool pool;
  InodeVersions versions;
  ReadAheadFiles read_ahead;
  MemoryFileSystem files;
  std::vector<std::unique_ptr<MemoryFileSystem::Next>> remotes;
  std::vector<Stack> stacks;
  std::vector<std::unique_ptr<Answer>> answers;  // the first to go: they hold buffers
  int rounds = 0;
};

inline constexpr uint32_t kKi = 1024, kMi = 1024 * 1024;
inline constexpr uint32_t kRead = 64 * kKi;

inline std::vector<std::byte> Bytes(size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

// Reads the first `count` pieces in sequence: afterwards more is there.
inline OpenId OpenAndWarm(ReadAheadRig& rig, const std::string& name, uint64_t count = 8,
                   size_t shard = 0) {
  const OpenId id = rig.Open(name, 0, shard);
  for (uint64_t i = 0; i < count; ++i)
    EXPECT_TRUE(rig.ReadsRight(name, id, i * kRead, kRead, shard));
  return id;
}

}  // namespace rdmafs
