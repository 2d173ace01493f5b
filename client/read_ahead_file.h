// ReadAheadFile: what was fetched ahead of one open file.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "client/inode_versions.h"
#include "client/read_ahead_memory.h"
#include "client/read_ahead_policy.h"

namespace rdmafs {

struct ReadAheadFile;
class ReadAheadLayer;

// A read that waits for data on their way.
struct WaitingRead {
  ReadAheadLayer* asked;  // whose shard the asker is on: it is answered there
  ReadRequest request;
  Reply<Payload> reply;
  uint32_t wait_count = 0;
  WaitingRead* next = nullptr;
};

// One fetch, from before it is sent until its data are dropped.
struct FetchedChunk {
  ReadAheadFile* file = nullptr;  // nullptr: nobody wants the data any more
  ReadAheadPolicy::StreamId stream = 0;
  uint64_t offset = 0;
  uint32_t asked_bytes = 0;
  uint32_t size_bytes = 0;    // that came; fewer than asked: the file ended there
  uint32_t served_bytes = 0;  // given to readers
  bool ready = false;
  ReadAheadMemory::Slice memory;
  WaitingRead* waiting = nullptr;

  uint64_t end() const { return offset + (ready ? size_bytes : asked_bytes); }
};

// Used with the lock of ReadAheadFiles.
struct ReadAheadFile {
  ReadAheadFile(InodeVersions::OpenFile open_file, const ReadAheadPolicy::Options& options)
      : inode(std::move(open_file.inode)), bypass(open_file.bypass), policy(options) {}

  const std::shared_ptr<OpenInode> inode;
  const bool bypass;
  ReadAheadPolicy policy;
  // All chunks were fetched at this version of the content.
  ContentVersion::Value version = 0;
  ReadAheadMemory::Cursor cursor;
  Nanoseconds last_read = 0;
  std::vector<FetchedChunk*> chunks;  // in the order they were sent

  struct Piece {
    FetchedChunk* chunk = nullptr;
    absl::Span<std::byte> bytes;
  };
  // How far what was fetched answers a read.
  struct Cover {
    enum class Kind { kNone, kOnTheWay, kReady };
    static constexpr size_t kMaxPieces = 8;
    Kind kind = Kind::kNone;
    FetchedChunk* awaited = nullptr;  // kOnTheWay: the first that is not there
    // kReady: all bytes, up to the end of the file if that comes first.
    Piece pieces[kMaxPieces];
    size_t piece_count = 0;
    uint32_t size_bytes = 0;
  };
  Cover Look(uint64_t offset, uint32_t size) const;
  FetchedChunk* Find(uint64_t offset) const;
};

}  // namespace rdmafs
