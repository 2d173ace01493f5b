// ReadAheadMemory: pieces of pool blocks for data that were fetched ahead, within a limit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "client/reply_chain.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs {

// Cuts blocks into slices, one behind the other, so that data fetched one after the other also lie
// so. A block goes back to its pool when none of its slices is in use. Takes no block that would
// leave less than a quarter of its pool for others. Not thread-safe.
class ReadAheadMemory {
 public:
  struct Block {
    Buffer buffer;
    uint32_t use_count = 0;
  };
  struct Slice {
    Block* block = nullptr;
    std::byte* data = nullptr;
  };
  // Where the next slice is cut from: one for each sequence of slices. Returned with Close().
  struct Cursor {
    Block* block = nullptr;
    size_t used_bytes = 0;
  };

  // limit_bytes: of blocks, payload counted.
  explicit ReadAheadMemory(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // A Slice without block when there is no room. A new block comes out of `pool`, which outlives
  // the slices; the pools that are given may be different ones, with blocks of one size.
  // size_bytes: at most a block's payload.
  Slice Take(BufferPool& pool, Cursor& cursor, size_t size_bytes);
  void Return(const Slice& slice) { Unuse(slice.block); }
  void Close(Cursor& cursor);

  uint64_t used_bytes() const { return used_bytes_; }

 private:
  static bool IsShort(const BufferPool& pool);
  void Unuse(Block* block);

  const uint64_t limit_bytes_;
  uint64_t used_bytes_ = 0;
  FreeList<Block> blocks_;
};

}  // namespace rdmafs
