#include "client/read_ahead_file.h"

#include <algorithm>

namespace rdmafs {

FetchedChunk* ReadAheadFile::Find(uint64_t offset) const {
  for (FetchedChunk* chunk : chunks) {
    if (chunk->offset <= offset && offset < chunk->end()) return chunk;
  }
  return nullptr;
}

ReadAheadFile::Cover ReadAheadFile::Look(uint64_t offset, uint32_t size) const {
  Cover cover;
  const uint64_t end = offset + size;
  uint64_t position = offset;
  while (position < end) {
    FetchedChunk* chunk = Find(position);
    if (chunk == nullptr || cover.piece_count == Cover::kMaxPieces) return {};
    const uint64_t piece_end = std::min(end, chunk->end());
    if (chunk->ready) {
      std::byte* data = chunk->memory.data + (position - chunk->offset);
      cover.pieces[cover.piece_count++] = {chunk,
                                           {data, static_cast<size_t>(piece_end - position)}};
    } else if (cover.awaited == nullptr) {
      cover.awaited = chunk;
    }
    position = piece_end;
    if (chunk->ready && chunk->size_bytes < chunk->asked_bytes && position == chunk->end()) break;
  }
  cover.size_bytes = static_cast<uint32_t>(position - offset);
  cover.kind = cover.awaited == nullptr ? Cover::Kind::kReady : Cover::Kind::kOnTheWay;
  return cover;
}

}  // namespace rdmafs
