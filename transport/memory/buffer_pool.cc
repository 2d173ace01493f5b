#include "transport/memory/buffer_pool.h"

#include <algorithm>

#include "transport/base/check.h"

namespace rdmafs {

BufferPool::BufferPool(Arena& arena, const Options& options)
    : options_(options),
      stride_bytes_(options.headroom_bytes + ((options.payload_bytes + 4095) & ~size_t{4095}) +
                    options.tailroom_bytes),
      arena_(arena) {
  CHECK(options.headroom_bytes % 4096 == 0 && options.tailroom_bytes % 4096 == 0);
}

BufferPool::~BufferPool() {
  absl::MutexLock lock(&mutex_);
  CHECK(free_.size() == block_count_);  // a buffer outlives its pool
}

Buffer BufferPool::Take() {
  absl::MutexLock lock(&mutex_);
  if (free_.empty() && !Grow()) {
    ++empty_count_;
    return Buffer();
  }
  Buffer::Block* block = free_.back();
  free_.pop_back();
  block->references.store(1, std::memory_order_relaxed);
  used_count_peak_ = std::max<uint64_t>(used_count_peak_, block_count_ - free_.size());
  return Buffer(block);
}

bool BufferPool::Grow() {
  const size_t left = options_.cap_bytes > size_bytes_ ? options_.cap_bytes - size_bytes_ : 0;
  size_t want = std::min(std::max(options_.slab_bytes, stride_bytes_), left);
  if (want < stride_bytes_) {
    if (block_count_ != 0) return false;
    want = stride_bytes_;
  }
  Arena::Slab slab = arena_.Add(want);
  if (slab.empty()) return false;
  const size_t count = slab.size() / stride_bytes_;
  auto blocks = std::make_unique<Buffer::Block[]>(count);
  free_.reserve(block_count_ + count);
  for (size_t i = count; i-- > 0;) {  // the first block of the slab is handed out first
    blocks[i].pool = this;
    blocks[i].data = slab.data() + i * stride_bytes_ + options_.headroom_bytes;
    free_.push_back(&blocks[i]);
  }
  blocks_.push_back(std::move(blocks));
  block_count_ += count;
  size_bytes_ += slab.size();
  return true;
}

void BufferPool::Return(Buffer::Block* block) {
  std::vector<UniqueFunction<void()>> wake;
  {
    absl::MutexLock lock(&mutex_);
    free_.push_back(block);
    wake.swap(waiting_);
  }
  for (auto& function : wake) function();
}

void BufferPool::WhenAvailable(UniqueFunction<void()> wake) {
  {
    absl::MutexLock lock(&mutex_);
    if (free_.empty()) {
      waiting_.push_back(std::move(wake));
      return;
    }
  }
  wake();
}

BufferPool::Statistics BufferPool::statistics() const {
  absl::MutexLock lock(&mutex_);
  return {.block_count = block_count_,
          .used_count = block_count_ - free_.size(),
          .used_count_peak = used_count_peak_,
          .empty_count = empty_count_,
          .size_bytes = size_bytes_,
          .cap_bytes = options_.cap_bytes};
}

}  // namespace rdmafs
