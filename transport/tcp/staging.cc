#include "transport/tcp/staging.h"

#include <utility>

namespace rdmafs {

StagingPool::Block StagingPool::Take() {
  {
    absl::MutexLock lock(&mutex_);
    ++used_count_;
    if (!free_.empty()) {
      Block block = std::move(free_.back());
      free_.pop_back();
      return block;
    }
  }
  // Left uninitialised: 64 KiB of zeros for every connection that wakes up would be work for
  // nothing.
  return Block(new StagingBlock);
}

void StagingPool::Give(Block block) {
  absl::MutexLock lock(&mutex_);
  --used_count_;
  if (free_.size() < kMaxFreeBlocks) free_.push_back(std::move(block));
}

size_t StagingPool::free_count() const {
  absl::MutexLock lock(&mutex_);
  return free_.size();
}

size_t StagingPool::used_count() const {
  absl::MutexLock lock(&mutex_);
  return used_count_;
}

}  // namespace rdmafs
