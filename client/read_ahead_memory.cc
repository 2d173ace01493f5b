#include "client/read_ahead_memory.h"

#include <algorithm>
#include <utility>

namespace rdmafs {

ReadAheadMemory::Slice ReadAheadMemory::Take(Cursor& cursor, size_t size_bytes) {
  CHECK(size_bytes <= block_bytes());
  if (cursor.block == nullptr || cursor.used_bytes + size_bytes > block_bytes()) {
    if (used_bytes_ + block_bytes() > limit_bytes_ || PoolIsShort()) return {};
    Buffer buffer = pool_.Take();
    if (!buffer) return {};
    Close(cursor);
    cursor.block = blocks_.Take(Block{std::move(buffer), 1});  // the cursor's own use
    used_bytes_ += block_bytes();
  }
  ++cursor.block->use_count;
  std::byte* data = cursor.block->buffer.data() + cursor.used_bytes;
  cursor.used_bytes += size_bytes;
  return {cursor.block, data};
}

void ReadAheadMemory::Close(Cursor& cursor) {
  if (cursor.block != nullptr) Unuse(cursor.block);
  cursor = {};
}

bool ReadAheadMemory::PoolIsShort() const {
  const BufferPool::Options& options = pool_.options();
  const uint64_t block = options.headroom_bytes + ((options.payload_bytes + 4095) & ~size_t{4095}) +
                         options.tailroom_bytes;
  // Slabs are cut into whole blocks, the last one may be smaller than the others.
  const uint64_t slab = std::max<uint64_t>(options.slab_bytes, block);
  const uint64_t count =
      options.cap_bytes / slab * (slab / block) + options.cap_bytes % slab / block;
  return pool_.statistics().used_count + std::max<uint64_t>(1, count / 4) >= count;
}

void ReadAheadMemory::Unuse(Block* block) {
  if (--block->use_count != 0) return;
  blocks_.Return(block);
  used_bytes_ -= block_bytes();
}

}  // namespace rdmafs
