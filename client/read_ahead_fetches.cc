// ReadAheadLayer's fetches: what is asked for ahead, what comes, and what is dropped.
#include <algorithm>
#include <cstring>
#include <utility>

#include "client/read_ahead_layer.h"
#include "transport/base/counter.h"

namespace rdmafs {
namespace {

constexpr Nanoseconds kIdleCheckPeriod = 100 * kMillisecond;
// Windows of fewer bytes than this part of a block share blocks with other files.
constexpr size_t kSmallWindowDivisor = 2;

}  // namespace

// --- Fetches ---

void ReadAheadLayer::FetchAhead(OpenId open_id, StreamId stream) {
  for (uint32_t i = 0; i < max_in_flight_; ++i) {
    FetchedChunk* chunk;
    ReadRequest request;
    {
      absl::MutexLock lock(&files_.mutex);
      chunk = NextFetch(open_id, stream);
      if (chunk == nullptr) return;
      request = {open_id,
                 chunk->offset,
                 chunk->asked_bytes,
                 {{chunk->memory.data, chunk->asked_bytes}, chunk->memory.block->buffer}};
    }
    AddAsOnlyWriter(statistics_.in_flight);
    next().Read(std::move(request), [this, chunk](Result<Payload> result) {
      OnFetched(chunk, std::move(result));
    });
  }
}

FetchedChunk* ReadAheadLayer::NextFetch(OpenId open_id, StreamId stream) {
  ReadAheadFile* file = files_.Known(open_id);  // an asker may have released it
  if (file == nullptr || files_.closed) return nullptr;
  if (statistics_.in_flight.load(std::memory_order_relaxed) >= max_in_flight_) return nullptr;
  const ContentVersion::Value version = file->inode->content.version();
  if (version != file->version || ContentVersion::ChangeUnderWay(version)) return nullptr;
  std::optional<ReadAheadPolicy::Fetch> fetch;
  do {
    fetch = file->policy.Next(stream);
    if (!fetch) return nullptr;
  } while (file->Find(fetch->offset) != nullptr);  // for another stream
  const ReadAheadMemory::Slice memory = TakeMemory(*file, *fetch);
  if (memory.block == nullptr) {
    file->policy.GiveBack(*fetch);
    return nullptr;
  }
  DropOldest(*file, stream);
  FetchedChunk* chunk = files_.chunks.Take();
  chunk->file = file;
  chunk->stream = stream;
  chunk->offset = fetch->offset;
  chunk->asked_bytes = fetch->size;
  chunk->memory = memory;
  file->chunks.push_back(chunk);
  return chunk;
}

ReadAheadMemory::Slice ReadAheadLayer::TakeMemory(ReadAheadFile& file,
                                                  const ReadAheadPolicy::Fetch& fetch) {
  const bool is_small =
      file.policy.window(fetch.stream) < pool_.options().payload_bytes / kSmallWindowDivisor;
  ReadAheadMemory::Cursor& cursor = is_small ? files_.small_cursor : file.cursor;
  ReadAheadMemory::Slice slice = files_.memory.Take(pool_, cursor, fetch.size);
  if (slice.block == nullptr) {
    DropIdle();
    slice = files_.memory.Take(pool_, cursor, fetch.size);
  }
  files_.ShowMemory();
  return slice;
}

void ReadAheadLayer::OnFetched(FetchedChunk* chunk, Result<Payload> result) {
  AddAsOnlyWriter(statistics_.in_flight, uint32_t{0} - 1);
  if (result.ok()) {
    AddAsOnlyWriter(statistics_.fetched_bytes, result->bytes.size());
  } else {
    AddAsOnlyWriter(statistics_.failures);
  }
  {
    absl::MutexLock lock(&files_.mutex);
    TakeIn(chunk, result);
  }
  RunResumed();
}

void ReadAheadLayer::TakeIn(FetchedChunk* chunk, const Result<Payload>& result) {
  // The end of all calls, not an answer: a read that asked again would come into a file system that
  // is being destroyed.
  if (result.error() == Errno(ENOTCONN)) files_.closed = true;
  if (chunk->file != nullptr) Refresh(*chunk->file);  // may leave the chunk without a file
  if (chunk->file != nullptr && result.ok() && result->bytes.size() < chunk->asked_bytes) {
    chunk->file->inode->LowerSize(chunk->offset + result->bytes.size());
  }
  if (chunk->file != nullptr && Keep(*chunk, result)) {
    return ResumeAll(std::exchange(chunk->waiting, nullptr));
  }
  if (result.ok()) AddAsOnlyWriter(statistics_.wasted_bytes, result->bytes.size());
  if (chunk->file == nullptr) return Free(chunk);
  chunk->ready = true;  // with no bytes
  Drop(chunk);
}

bool ReadAheadLayer::Keep(FetchedChunk& chunk, const Result<Payload>& result) {
  if (!result.ok() || result->bytes.empty() || result->bytes.size() > chunk.asked_bytes)
    return false;
  const absl::Span<const std::byte> bytes = result->bytes;
  if (bytes.data() !=
      chunk.memory.data) {  // small data come in the message, whose buffer is needed
    std::memcpy(chunk.memory.data, bytes.data(), bytes.size());
    AddAsOnlyWriter(statistics_.copied_bytes, bytes.size());
  }
  chunk.size_bytes = static_cast<uint32_t>(bytes.size());
  chunk.ready = true;
  return true;
}

// --- Dropping ---

void ReadAheadLayer::Release(OpenId open_id, Reply<Unit> reply) {
  {
    absl::MutexLock lock(&files_.mutex);
    DropFile(open_id);
  }
  RunResumed();  // what waits asks the server while the file is still open
  next().Release(open_id, std::move(reply));
}

void ReadAheadLayer::DropFile(OpenId open_id) {
  const auto found = files_.files.find(open_id);
  if (found == files_.files.end()) return;
  const std::unique_ptr<ReadAheadFile> file = std::move(found->second);
  files_.files.erase(found);
  DropChunks(*file);
  files_.memory.Close(file->cursor);
  files_.ShowMemory();
}

void ReadAheadLayer::DropChunks(ReadAheadFile& file) {
  while (!file.chunks.empty()) Drop(file.chunks.back());
}

void ReadAheadLayer::DropStream(ReadAheadFile& file, StreamId stream) {
  for (size_t i = file.chunks.size(); i-- > 0;) {
    if (file.chunks[i]->stream == stream && file.chunks[i]->waiting == nullptr)
      Drop(file.chunks[i]);
  }
}

void ReadAheadLayer::DropOldest(ReadAheadFile& file, StreamId stream) {
  FetchedChunk* oldest = nullptr;
  size_t count = 0;
  for (FetchedChunk* chunk : file.chunks) {
    if (chunk->stream != stream || !chunk->ready) continue;
    if (oldest == nullptr) oldest = chunk;
    ++count;
  }
  if (count > ReadAheadPolicy::kMaxFetches) Drop(oldest);
}

void ReadAheadLayer::DropIdle() {
  const Nanoseconds now = loop_.clock().Now();
  if (now < files_.next_idle_check) return;
  files_.next_idle_check = now + kIdleCheckPeriod;
  for (auto& [open_id, file] : files_.files) {
    if (now - file->last_read < kIdle) continue;
    if (!file->chunks.empty()) {
      DropChunks(*file);
      file->policy.OnInvalidated();
    }
    files_.memory.Close(file->cursor);
  }
}

void ReadAheadLayer::Drop(FetchedChunk* chunk) {
  std::vector<FetchedChunk*>& chunks = chunk->file->chunks;
  chunks.erase(std::find(chunks.begin(), chunks.end(), chunk));
  chunk->file = nullptr;
  ResumeAll(std::exchange(chunk->waiting, nullptr));
  if (!chunk->ready) return;  // its fetch will free it
  AddAsOnlyWriter(statistics_.wasted_bytes, chunk->size_bytes - chunk->served_bytes);
  Free(chunk);
}

void ReadAheadLayer::Free(FetchedChunk* chunk) {
  files_.memory.Return(chunk->memory);
  files_.ShowMemory();
  files_.chunks.Return(chunk);
}

}  // namespace rdmafs
