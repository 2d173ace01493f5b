#include "client/read_ahead_layer.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rdmafs {
namespace {

// A read whose data were invalidated so often while it waited asks the server itself.
constexpr uint32_t kMaxWaits = 4;
// So many more reads are looked for behind the known end of a file that has grown.
constexpr uint64_t kMoreReads = 16;
constexpr Nanoseconds kIdleCheckPeriod = 100 * kMillisecond;
// Windows of fewer bytes than this part of a block share blocks with other files.
constexpr size_t kSmallWindowDivisor = 2;

// For counters that one thread writes: no locked instruction.
template <typename T>
void Count(std::atomic<T>& counter, uint64_t more = 1) {
  counter.store(static_cast<T>(counter.load(std::memory_order_relaxed) + more),
                std::memory_order_relaxed);
}

void Append(WaitingRead*& list, WaitingRead* reads) {
  WaitingRead** last = &list;  // answered in the order they came
  while (*last != nullptr) last = &(*last)->next;
  *last = reads;
}

}  // namespace

ReadAheadLayer::ReadAheadLayer(FileSystem& next, EventLoop& loop, BufferPool& pool,
                               ReadAheadFiles& files, uint32_t max_in_flight)
    : Layer(next), max_in_flight_(max_in_flight), loop_(loop), pool_(pool), files_(files) {}

// --- Reads ----------------------------------------------------------------------------------------

void ReadAheadLayer::Read(ReadRequest request, Reply<Payload> reply) {
  const OpenId open_id = request.open_id;
  enum { kPasses, kHit, kMiss, kWaits } what = kPasses;
  StreamId stream = 0;
  Hit hit;
  {
    absl::MutexLock lock(&files_.mutex);
    ReadAheadFile* file = files_.Of(open_id);
    if (file != nullptr && !file->bypass && request.size != 0) {
      Refresh(*file);
      stream = Follow(*file, request);
      const Cover cover = file->Look(request.offset, request.size);
      what = kMiss;
      if (cover.kind == Cover::Kind::kOnTheWay) {
        what = kWaits;
        WaitingRead read{this, std::move(request), std::move(reply)};
        Wait(*cover.awaited, files_.waiting.Take(std::move(read)));
      } else if (cover.kind == Cover::Kind::kReady && Gather(cover, request.destination, hit)) {
        what = kHit;
      }
    }
  }
  if (what == kPasses) return next().Read(std::move(request), std::move(reply));
  if (what == kMiss) {
    Count(statistics_.misses);
    Ask(std::move(request), std::move(reply));
  }
  if (stream != 0) FetchAhead(open_id, stream);
  if (what == kHit) reply.Complete(Assemble(hit, request.destination));
  RunResumed();
}

void ReadAheadLayer::Refresh(ReadAheadFile& file) {
  const ContentVersion::Value version = file.inode->content.version();
  if (version == file.version) return;
  file.version = version;
  file.policy.OnInvalidated();
  if (file.chunks.empty()) return;
  Count(statistics_.invalidations);
  DropChunks(file);
}

ReadAheadLayer::StreamId ReadAheadLayer::Follow(ReadAheadFile& file, const ReadRequest& request) {
  file.last_read = loop_.clock().Now();
  file.policy.SetFileSize(file.inode->size.load(std::memory_order_relaxed));
  const StreamId stream = file.policy.OnRead(request.offset, request.size);
  while (StreamId ended = file.policy.TakeEnded()) DropStream(file, ended);
  const uint64_t window = file.policy.window(stream);
  if (window != 0) statistics_.window_bytes.store(window, std::memory_order_relaxed);
  return stream;
}

bool ReadAheadLayer::Gather(const Cover& cover, const PayloadMemory& destination, Hit& hit) {
  const ReadAheadFile::Piece* pieces = cover.pieces;
  for (size_t i = 0; i < cover.piece_count; ++i) {
    const Buffer& buffer = pieces[i].chunk->memory.block->buffer;
    absl::Span<std::byte>& last = hit.pieces[hit.piece_count == 0 ? 0 : hit.piece_count - 1];
    if (hit.piece_count != 0 && hit.holds[hit.piece_count - 1].data() == buffer.data() &&
        last.data() + last.size() == pieces[i].bytes.data()) {
      last = {last.data(), last.size() + pieces[i].bytes.size()};
    } else {
      hit.pieces[hit.piece_count] = pieces[i].bytes;
      hit.holds[hit.piece_count++] = buffer;
    }
  }
  if (hit.piece_count > 1 && destination.bytes.size() < cover.size_bytes) return false;
  hit.size_bytes = cover.size_bytes;
  for (size_t i = 0; i < cover.piece_count; ++i) {
    FetchedChunk* chunk = pieces[i].chunk;
    chunk->served_bytes += static_cast<uint32_t>(
        std::min<size_t>(pieces[i].bytes.size(), chunk->size_bytes - chunk->served_bytes));
    if (chunk->served_bytes == chunk->size_bytes) Drop(chunk);
  }
  Count(statistics_.hits);
  Count(statistics_.hit_bytes, cover.size_bytes);
  return true;
}

Payload ReadAheadLayer::Assemble(Hit& hit, PayloadMemory& destination) {
  Payload payload;
  if (hit.piece_count == 1) {
    payload.bytes = hit.pieces[0];
    payload.hold = std::move(hit.holds[0]);
    return payload;
  }
  std::byte* to = destination.bytes.data();
  for (size_t i = 0; i < hit.piece_count; ++i) {
    std::memcpy(to, hit.pieces[i].data(), hit.pieces[i].size());
    to += hit.pieces[i].size();
  }
  Count(statistics_.copied_bytes, hit.size_bytes);
  payload.bytes = destination.bytes.first(hit.size_bytes);
  payload.hold = std::move(destination.hold);
  return payload;
}

void ReadAheadLayer::Ask(ReadRequest request, Reply<Payload> reply) {
  const uint64_t end = request.offset + request.size;
  std::shared_ptr<OpenInode> inode;
  {
    absl::MutexLock lock(&files_.mutex);
    ReadAheadFile* file = files_.Known(request.open_id);
    if (file != nullptr && end > file->inode->size.load(std::memory_order_relaxed))
      inode = file->inode;
  }
  if (inode != nullptr) {
    // The file may have grown: a full answer says that there is more. How much the fetches will
    // find out.
    auto look = [inode = std::move(inode), offset = request.offset,
                 size = request.size](Result<Payload>& result) {
      if (!result.ok() || result->bytes.empty()) return;
      const uint64_t got = result->bytes.size();
      inode->RaiseSize(offset + got + (got == size ? kMoreReads * size : 0));
    };
    reply = asked_.Wrap(std::move(reply), std::move(look));
  }
  next().Read(std::move(request), std::move(reply));
}

// --- Reads that wait ------------------------------------------------------------------------------

void ReadAheadLayer::Wait(FetchedChunk& chunk, WaitingRead* read) {
  ++read->wait_count;
  read->next = nullptr;
  Append(chunk.waiting, read);
}

void ReadAheadLayer::ResumeAll(WaitingRead* reads) {
  while (reads != nullptr) {
    WaitingRead* read = std::exchange(reads, reads->next);
    read->next = nullptr;
    Append(read->asked == this ? resumed_ : abroad_, read);
  }
}

void ReadAheadLayer::RunResumed() {
  SendAbroad();
  while (resumed_ != nullptr) {
    WaitingRead* read = resumed_;
    resumed_ = read->next;
    Resume(read);
    SendAbroad();
  }
}

void ReadAheadLayer::SendAbroad() {
  while (abroad_ != nullptr) {
    ReadAheadLayer* const there = abroad_->asked;
    WaitingRead *theirs = nullptr, *others = nullptr;
    while (abroad_ != nullptr) {
      WaitingRead* read = std::exchange(abroad_, abroad_->next);
      read->next = nullptr;
      Append(read->asked == there ? theirs : others, read);
    }
    abroad_ = others;
    // It stands as long as it has a read that waits.
    there->loop_.Post([there, theirs] { there->TakeResumed(theirs); });
  }
}

void ReadAheadLayer::TakeResumed(WaitingRead* reads) {
  Append(resumed_, reads);
  RunResumed();
}

void ReadAheadLayer::Resume(WaitingRead* read) {
  Hit hit;
  bool is_hit = false, closed = false;
  ReadRequest request;
  Reply<Payload> reply;
  {
    absl::MutexLock lock(&files_.mutex);
    ReadAheadFile* file = files_.Known(read->request.open_id);
    Cover cover;
    if (file != nullptr) {
      Refresh(*file);
      cover = file->Look(read->request.offset, read->request.size);
    }
    if (cover.kind == Cover::Kind::kOnTheWay && read->wait_count < kMaxWaits) {
      return Wait(*cover.awaited, read);
    }
    if (cover.kind == Cover::Kind::kReady) is_hit = Gather(cover, read->request.destination, hit);
    request = std::move(read->request);
    reply = std::move(read->reply);
    files_.waiting.Return(read);
    closed = files_.closed;
  }
  if (is_hit) {
    Count(statistics_.waits);
    return reply.Complete(Assemble(hit, request.destination));
  }
  Count(statistics_.misses);
  if (closed) return reply.Complete(Errno(ENOTCONN));
  Ask(std::move(request), std::move(reply));
}

void ReadAheadLayer::GiveUp(absl::Span<const std::byte> memory) {
  Reply<Payload> reply;
  {
    absl::MutexLock lock(&files_.mutex);
    if (WaitingRead* read = FindWaiting(memory)) {
      reply = std::move(read->reply);
      files_.waiting.Return(read);
    }
  }
  if (reply) return reply.Complete(Errno(EINTR));
  next().GiveUp(memory);
}

WaitingRead* ReadAheadLayer::FindWaiting(absl::Span<const std::byte> memory) {
  for (auto& [open_id, file] : files_.files) {
    for (FetchedChunk* chunk : file->chunks) {
      for (WaitingRead** at = &chunk->waiting; *at != nullptr; at = &(*at)->next) {
        WaitingRead* const read = *at;
        if (read->asked != this || read->request.destination.bytes.data() != memory.data()) continue;
        *at = read->next;
        return read;
      }
    }
  }
  return nullptr;
}

// --- Fetches --------------------------------------------------------------------------------------

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
    Count(statistics_.in_flight);
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
  Count(statistics_.in_flight, uint64_t{0} - 1);
  if (result.ok()) {
    Count(statistics_.fetched_bytes, result->bytes.size());
  } else {
    Count(statistics_.failures);
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
  if (result.ok()) Count(statistics_.wasted_bytes, result->bytes.size());
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
    Count(statistics_.copied_bytes, bytes.size());
  }
  chunk.size_bytes = static_cast<uint32_t>(bytes.size());
  chunk.ready = true;
  return true;
}

// --- Dropping -------------------------------------------------------------------------------------

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
  Count(statistics_.wasted_bytes, chunk->size_bytes - chunk->served_bytes);
  Free(chunk);
}

void ReadAheadLayer::Free(FetchedChunk* chunk) {
  files_.memory.Return(chunk->memory);
  files_.ShowMemory();
  files_.chunks.Return(chunk);
}

}  // namespace rdmafs
