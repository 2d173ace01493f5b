// StagingPool and StagingBlock: where a socket's bytes land while nobody knows yet what they are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/wire/header.h"

namespace rdmafs {

// Owned by one connection, used on its shard thread only. A message begins in the first
// kBatchBytes; behind them is room for the rest of the last one, so that no message is ever moved
// to be whole.
struct StagingBlock {
  static constexpr size_t kBytes = size_t{64} << 10;
  static constexpr size_t kBatchBytes = kBytes - wire::kMaxMessageBytes;

  uint32_t references = 0;  // messages that are views into it
  std::array<std::byte, kBytes> bytes;
};

// Thread-safe. Keeps a few free blocks for the next connection that has something to read; how many
// are out is bounded by what each connection may hold.
class StagingPool {
 public:
  using Block = std::unique_ptr<StagingBlock>;
  static constexpr size_t kMaxFreeBlocks = 32;

  Block Take();
  void Give(Block block);
  // Blocks kept free, and blocks taken and not given back.
  size_t free_count() const;
  size_t used_count() const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<Block> free_ ABSL_GUARDED_BY(mutex_);
  size_t used_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs
