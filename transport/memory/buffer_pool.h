// BufferPool and Buffer: blocks of registered memory, with a hard cap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "transport/base/unique_function.h"
#include "transport/memory/arena.h"

namespace rdmafs {

class BufferPool;

// A counted reference to one block: [headroom][payload][tailroom], payload page-aligned. The block
// goes back to its pool with the last reference, from whichever thread drops it. A block whose rkey
// is out, or that a SEND in flight gathers from, is referenced by its connection.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer& other);
  Buffer(Buffer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Buffer();

  explicit operator bool() const { return block_ != nullptr; }
  // Whether there are other references now.
  bool IsShared() const;
  // The payload. Valid while a reference is held.
  std::byte* data() const;
  size_t size() const;
  absl::Span<std::byte> payload() const { return {data(), size()}; }
  // The same with headroom before and tailroom behind it: `headroom()` bytes before data() are
  // ours.
  size_t headroom() const;

 private:
  friend class BufferPool;
  struct Block;
  explicit Buffer(Block* block) : block_(block) {}
  Block* block_ = nullptr;
};

// Thread-safe (an uncontended lock; a shard that owns its pool never waits for it).
class BufferPool {
 public:
  struct Options {
    size_t payload_bytes = size_t{1} << 20;
    size_t headroom_bytes = 4096;  // multiples of 4096, so that every payload is page-aligned
    size_t tailroom_bytes = 4096;
    size_t cap_bytes = size_t{64} << 20;   // of slab memory; at least one block is always allowed
    size_t slab_bytes = size_t{16} << 20;  // how much it grows by
  };
  struct Statistics {
    uint64_t block_count;      // blocks that exist
    uint64_t used_count;       // blocks handed out now
    uint64_t used_count_peak;
    uint64_t empty_count;      // how often Take() found nothing
    uint64_t size_bytes;       // slab memory in use
    uint64_t cap_bytes;
  };

  // `arena` must outlive the pool; the pool must outlive its buffers.
  BufferPool(Arena& arena, const Options& options);
  ~BufferPool();

  // The most recently returned block, or an empty Buffer when the cap is reached. Contents are
  // whatever was there before.
  Buffer Take();
  // Calls `wake` once, on the thread that returns a block, when one is there after Take() failed.
  // It must not take a block itself; let it post to its loop.
  void WhenAvailable(UniqueFunction<void()> wake);

  Statistics statistics() const;
  const Options& options() const { return options_; }

 private:
  friend class Buffer;
  bool Grow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Return(Buffer::Block* block);

  const Options options_;
  const size_t stride_bytes_;
  Arena& arena_;

  mutable absl::Mutex mutex_;
  std::vector<Buffer::Block*> free_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Buffer::Block[]>> blocks_ ABSL_GUARDED_BY(mutex_);
  std::vector<UniqueFunction<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  uint64_t block_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t used_count_peak_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t empty_count_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t size_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What one block is made of; here, so that the accessors are inline on the data path.
struct Buffer::Block {
  BufferPool* pool = nullptr;
  std::byte* data = nullptr;
  std::atomic<uint32_t> references{0};
};

inline Buffer::Buffer(const Buffer& other) : block_(other.block_) {
  if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
}
inline Buffer::~Buffer() {
  if (block_ != nullptr && block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    block_->pool->Return(block_);
  }
}
inline bool Buffer::IsShared() const {
  return block_->references.load(std::memory_order_acquire) > 1;
}
inline std::byte* Buffer::data() const { return block_->data; }
inline size_t Buffer::size() const { return block_->pool->options().payload_bytes; }
inline size_t Buffer::headroom() const { return block_->pool->options().headroom_bytes; }

}  // namespace rdmafs
