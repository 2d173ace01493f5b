// ReadAheadLayer: keeps reads in flight ahead of sequential readers, and answers these from what
// came.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "client/layer.h"
#include "client/read_ahead_files.h"
#include "client/read_ahead_options.h"
#include "transport/base/event_loop.h"

namespace rdmafs {

// Written by the shard; read from any thread without a lock.
struct ReadAheadStatistics {
  std::atomic<uint64_t> hits{
      0};  // reads answered from what was fetched, those that waited included
  std::atomic<uint64_t> waits{0};   // of them: the data were still on their way
  std::atomic<uint64_t> misses{0};  // reads that went to the server
  std::atomic<uint64_t> hit_bytes{0};
  std::atomic<uint64_t> fetched_bytes{0};
  std::atomic<uint64_t> wasted_bytes{0};   // fetched, and dropped unread
  std::atomic<uint64_t> copied_bytes{0};   // reads over two buffers, and small data out of messages
  std::atomic<uint64_t> invalidations{0};  // of a file with something fetched
  std::atomic<uint64_t> failures{0};       // fetches that came back with an error
  std::atomic<uint64_t> window_bytes{0};   // now: of the stream that was read last
  std::atomic<uint32_t> in_flight{0};      // now
};

// Owned by one shard thread; the layers of a mount's shards share `files`. The VersionLayer is
// below it. docs/read-ahead.md has the rules that it keeps.
//
// Read and OnFetched look and decide with the lock of `files`; what is to be answered is collected
// in resumed_ (asked on this shard) and abroad_ (asked on others), and what is to be sent is sent,
// after it was given up.
class ReadAheadLayer final : public Layer {
 public:
  // A file that was not read for so long gives way when memory is short.
  static constexpr Nanoseconds kIdle = kSecond;

  // `loop`, `pool` and `files` outlive it. max_in_flight: fetches of this shard.
  ReadAheadLayer(FileSystem& next, EventLoop& loop, BufferPool& pool, ReadAheadFiles& files,
                 uint32_t max_in_flight);

  void Read(ReadRequest request, Reply<Payload> reply) override;
  // Nobody reads the file any more.
  void Release(OpenId open_id, Reply<Unit> reply) override;
  // A read that waits for a fetch answers EINTR, wherever the fetch is.
  void GiveUp(absl::Span<const std::byte> memory) override;

  const ReadAheadStatistics& statistics() const { return statistics_; }

 private:
  using StreamId = ReadAheadPolicy::StreamId;
  using Cover = ReadAheadFile::Cover;

  // What answers a read, still in the fetches' memory.
  struct Hit {
    std::array<absl::Span<std::byte>, Cover::kMaxPieces> pieces;
    std::array<Buffer, Cover::kMaxPieces> holds;
    size_t piece_count = 0;
    uint32_t size_bytes = 0;
  };

  // An entry point's last call: it answers the reads that no longer wait. Nothing may be relied on
  // after any of these: the askers that they answer may read, write and release files.
  void RunResumed() ABSL_LOCKS_EXCLUDED(files_.mutex);
  void Resume(WaitingRead* read) ABSL_LOCKS_EXCLUDED(files_.mutex);
  void Ask(ReadRequest request, Reply<Payload> reply) ABSL_LOCKS_EXCLUDED(files_.mutex);
  void FetchAhead(OpenId open_id, StreamId stream) ABSL_LOCKS_EXCLUDED(files_.mutex);
  void SendAbroad();
  // On this shard's thread, from another one's.
  void TakeResumed(WaitingRead* reads);

  // Drops what the content's changes have made worthless.
  void Refresh(ReadAheadFile& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  StreamId Follow(ReadAheadFile& file, const ReadRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  // Takes what `cover` has; false when it would have to be put together and there is no place.
  bool Gather(const Cover& cover, const PayloadMemory& destination, Hit& hit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  // As one piece: where it lies, or put together in `destination`.
  Payload Assemble(Hit& hit, PayloadMemory& destination);
  void Wait(FetchedChunk& chunk, WaitingRead* read) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  // Takes this shard's read into `memory` away from the fetch that it waits for.
  WaitingRead* FindWaiting(absl::Span<const std::byte> memory)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);

  FetchedChunk* NextFetch(OpenId open_id, StreamId stream)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  ReadAheadMemory::Slice TakeMemory(ReadAheadFile& file, const ReadAheadPolicy::Fetch& fetch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void OnFetched(FetchedChunk* chunk, Result<Payload> result) ABSL_LOCKS_EXCLUDED(files_.mutex);
  void TakeIn(FetchedChunk* chunk, const Result<Payload>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  bool Keep(FetchedChunk& chunk, const Result<Payload>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);

  void DropFile(OpenId open_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void DropChunks(ReadAheadFile& file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void DropStream(ReadAheadFile& file, StreamId stream)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  // So that what a stream has stepped over does not pile up behind it.
  void DropOldest(ReadAheadFile& file, StreamId stream)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void DropIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  // Takes it out of its file. The reads that wait for it are resumed; the data, if they are still
  // to come, are dropped then.
  void Drop(FetchedChunk* chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void ResumeAll(WaitingRead* reads) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);
  void Free(FetchedChunk* chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_.mutex);

  const uint32_t max_in_flight_;
  EventLoop& loop_;
  BufferPool& pool_;
  ReadAheadFiles& files_;
  ReadAheadStatistics statistics_;

  ReplyChain<Payload> asked_;
  WaitingRead* resumed_ = nullptr;
  WaitingRead* abroad_ = nullptr;
};

}  // namespace rdmafs
