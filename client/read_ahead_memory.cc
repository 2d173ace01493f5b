#include "client/read_ahead_memory.h"

#include <algorithm>
#include <utility>

namespace rdmafs {

ReadAheadMemory::Slice ReadAheadMemory::Take(BufferPool& pool, Cursor& cursor, size_t size_bytes) {
  CHECK(size_bytes <= pool.options().payload_bytes);
  if (cursor.block == nullptr || cursor.used_bytes + size_bytes > cursor.block->buffer.size()) {
    if (used_bytes_ + pool.options().payload_bytes > limit_bytes_ || IsShort(pool)) return {};
    Buffer buffer = pool.Take();
    if (!buffer) return {};
    Close(cursor);
    used_bytes_ += buffer.size();
    cursor.block = blocks_.Take(Block{std::move(buffer), 1});  // the cursor's own use
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

bool ReadAheadMemory::IsShort(const BufferPool& pool) {
  const BufferPool::Options& options = pool.options();
  const uint64_t block = options.headroom_bytes + ((options.payload_bytes + 4095) & ~size_t{4095}) +
                         options.tailroom_bytes;
  // Slabs are cut into whole blocks, the last one may be smaller than the others.
  const uint64_t slab = std::max<uint64_t>(options.slab_bytes, block);
  const uint64_t count =
      options.cap_bytes / slab * (slab / block) + options.cap_bytes % slab / block;
  return pool.statistics().used_count + std::max<uint64_t>(1, count / 4) >= count;
}

void ReadAheadMemory::Unuse(Block* block) {
  if (--block->use_count != 0) return;
  used_bytes_ -= block->buffer.size();
  blocks_.Return(block);
}

}  // namespace rdmafs
