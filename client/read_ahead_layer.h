// ReadAheadLayer: keeps reads in flight ahead of sequential readers, and answers these from what
// came.
#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "client/inode_versions.h"
#include "client/layer.h"
#include "client/read_ahead_file.h"
#include "client/read_ahead_memory.h"
#include "client/read_ahead_options.h"
#include "client/reply_chain.h"
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
  std::atomic<uint64_t> memory_bytes{0};   // now: of pool blocks
  std::atomic<uint32_t> in_flight{0};      // now
};

// Owned by one shard thread. The VersionLayer is below it. docs/read-ahead.md has the rules that it
// keeps.
class ReadAheadLayer final : public Layer {
 public:
  struct Options {
    ReadAheadPolicy::Options policy;
    uint64_t max_memory_bytes = uint64_t{32} << 20;  // of pool blocks, for all files of this shard
    uint32_t max_in_flight = 32;
  };
  // A file that was not read for so long gives way when memory is short.
  static constexpr Nanoseconds kIdle = kSecond;

  // `loop`, `pool` and `versions` outlive it.
  ReadAheadLayer(FileSystem& next, EventLoop& loop, BufferPool& pool, InodeVersions& versions,
                 const Options& options);
  ~ReadAheadLayer() override;

  void Read(ReadRequest request, Reply<Payload> reply) override;
  void Release(OpenId open_id, Reply<Unit> reply) override;

  const ReadAheadStatistics& statistics() const { return statistics_; }

 private:
  using StreamId = ReadAheadPolicy::StreamId;
  using Cover = ReadAheadFile::Cover;

  // An entry point's last call: it answers the reads that no longer wait. Nothing may be relied on
  // after any of these four: the askers that they answer may read, write and release files.
  void RunResumed();
  void Resume(WaitingRead* read);
  void Ask(ReadRequest request, Reply<Payload> reply);
  void FetchAhead(OpenId open_id, StreamId stream);

  // nullptr: not known (Local: to this shard).
  ReadAheadFile* Local(OpenId open_id);
  ReadAheadFile* FileOf(OpenId open_id);
  // Drops what the content's changes have made worthless.
  void Refresh(ReadAheadFile& file);
  StreamId Follow(ReadAheadFile& file, const ReadRequest& request);
  // What `cover` has as a payload; nullopt when it would have to be put together and there is no
  // place.
  std::optional<Payload> Gather(const Cover& cover, PayloadMemory& destination);
  void Wait(FetchedChunk& chunk, WaitingRead* read);

  bool FetchNext(OpenId open_id, StreamId stream);
  ReadAheadMemory::Slice TakeMemory(ReadAheadFile& file, const ReadAheadPolicy::Fetch& fetch);
  void OnFetched(FetchedChunk* chunk, Result<Payload> result);
  bool Keep(FetchedChunk& chunk, const Result<Payload>& result);

  void DropFile(OpenId open_id);
  void DropChunks(ReadAheadFile& file);
  void DropStream(ReadAheadFile& file, StreamId stream);
  // So that what a stream has stepped over does not pile up behind it.
  void DropOldest(ReadAheadFile& file, StreamId stream);
  void DropIdle();
  // Takes it out of its file. The reads that wait for it are resumed; the data, if they are still
  // to come, are dropped then.
  void Drop(FetchedChunk* chunk);
  void Free(FetchedChunk* chunk);

  const Options options_;
  EventLoop& loop_;
  InodeVersions& versions_;
  // Before shard_: releases posted to the loop look whether the layer still stands.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  const size_t shard_;
  ReadAheadStatistics statistics_;

  ReadAheadMemory memory_;
  ReadAheadMemory::Cursor small_cursor_;  // fetches for small windows share blocks
  std::unordered_map<OpenId, std::unique_ptr<ReadAheadFile>> files_;
  FreeList<FetchedChunk> chunks_;
  FreeList<WaitingRead> waiting_;
  ReplyChain<Payload> asked_;
  WaitingRead* resumed_ = nullptr;
  Nanoseconds next_idle_check_ = 0;
  bool closed_ = false;  // the way to the server is being taken down: nothing is sent any more
};

}  // namespace rdmafs
