// SendRing: registered memory for the headers and bodies of messages on their way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transport/memory/buffer_pool.h"

namespace rdmafs::rdma {

// Blocks of a pool used in turn: SENDs complete in order, so what was taken first is free first.
// Owned by one shard thread.
class SendRing {
 public:
  struct Block {
    Buffer buffer;
    uint32_t lkey = 0;
  };
  struct Space {
    std::byte* data;
    uint32_t lkey;
  };

  explicit SendRing(std::vector<Block> blocks) : blocks_(std::move(blocks)) {}

  // Whether Take() of `size` bytes (at most a block's) will find room.
  bool Fits(size_t size) const {
    return offset_ + size <= blocks_[0].buffer.size() || current_ + 1 - oldest_ < blocks_.size();
  }
  Space Take(size_t size);
  // The number of the block that was last taken from; numbers only grow.
  uint64_t current() const { return current_; }
  // Blocks before `number` are free again.
  void ReleaseBefore(uint64_t number) { oldest_ = number; }
  // Nothing is in use any more.
  void ReleaseAll() {
    oldest_ = current_;
    offset_ = 0;
  }

 private:
  std::vector<Block> blocks_;
  uint64_t current_ = 0, oldest_ = 0;
  size_t offset_ = 0;  // of what is free in the current block
};

}  // namespace rdmafs::rdma
