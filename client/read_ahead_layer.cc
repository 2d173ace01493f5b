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

}  // namespace

ReadAheadLayer::ReadAheadLayer(FileSystem& next, EventLoop& loop, BufferPool& pool,
                               InodeVersions& versions, const Options& options)
    : Layer(next),
      options_(options),
      loop_(loop),
      versions_(versions),
      shard_(versions.AddShard([this, &loop, alive = std::weak_ptr<bool>(alive_)](OpenId open_id) {
        loop.Post([this, alive, open_id] {
          if (alive.expired()) return;
          DropFile(open_id);
          RunResumed();
        });
      })),
      memory_(pool, options.max_memory_bytes) {}

ReadAheadLayer::~ReadAheadLayer() {
  versions_.RemoveShard(shard_);
  for (auto& [open_id, file] : files_) {
    DropChunks(*file);
    memory_.Close(file->cursor);
  }
  memory_.Close(small_cursor_);
}

// --- Reads
// -----------------------------------------------------------------------------------------

void ReadAheadLayer::Read(ReadRequest request, Reply<Payload> reply) {
  ReadAheadFile* file = FileOf(request.open_id);
  if (file == nullptr || file->bypass || request.size == 0) {
    return next().Read(std::move(request), std::move(reply));
  }
  Refresh(*file);
  const OpenId open_id = request.open_id;
  const StreamId stream = Follow(*file, request);
  const Cover cover = file->Look(request.offset, request.size);
  if (cover.kind == Cover::Kind::kOnTheWay) {
    Wait(*cover.awaited, waiting_.Take(WaitingRead{std::move(request), std::move(reply)}));
    FetchAhead(open_id, stream);
    return RunResumed();
  }
  std::optional<Payload> payload;
  if (cover.kind == Cover::Kind::kReady) payload = Gather(cover, request.destination);
  if (!payload) {
    Count(statistics_.misses);
    Ask(std::move(request), std::move(reply));
    FetchAhead(open_id, stream);
    return RunResumed();
  }
  FetchAhead(open_id, stream);
  reply.Complete(std::move(*payload));
  RunResumed();
}

ReadAheadFile* ReadAheadLayer::Local(OpenId open_id) {
  const auto found = files_.find(open_id);
  return found == files_.end() ? nullptr : found->second.get();
}

ReadAheadFile* ReadAheadLayer::FileOf(OpenId open_id) {
  if (ReadAheadFile* file = Local(open_id)) return file;
  InodeVersions::OpenFile open_file = versions_.Find(open_id, shard_);
  if (open_file.inode == nullptr) return nullptr;
  auto file = std::make_unique<ReadAheadFile>(std::move(open_file), options_.policy);
  return files_.emplace(open_id, std::move(file)).first->second.get();
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

std::optional<Payload> ReadAheadLayer::Gather(const Cover& cover, PayloadMemory& destination) {
  const ReadAheadFile::Piece* pieces = cover.pieces;
  bool adjacent = true;
  for (size_t i = 1; i < cover.piece_count; ++i) {
    adjacent = adjacent && pieces[i].chunk->memory.block == pieces[0].chunk->memory.block &&
               pieces[i].bytes.data() == pieces[i - 1].bytes.data() + pieces[i - 1].bytes.size();
  }
  Payload payload;
  if (adjacent) {
    payload.bytes = {pieces[0].bytes.data(), cover.size_bytes};
    payload.hold = pieces[0].chunk->memory.block->buffer;
  } else {
    if (destination.bytes.size() < cover.size_bytes) return std::nullopt;
    std::byte* to = destination.bytes.data();
    for (size_t i = 0; i < cover.piece_count; ++i) {
      std::memcpy(to, pieces[i].bytes.data(), pieces[i].bytes.size());
      to += pieces[i].bytes.size();
    }
    Count(statistics_.copied_bytes, cover.size_bytes);
    payload.bytes = destination.bytes.first(cover.size_bytes);
    payload.hold = std::move(destination.hold);
  }
  for (size_t i = 0; i < cover.piece_count; ++i) {
    FetchedChunk* chunk = pieces[i].chunk;
    chunk->served_bytes += static_cast<uint32_t>(
        std::min<size_t>(pieces[i].bytes.size(), chunk->size_bytes - chunk->served_bytes));
    if (chunk->served_bytes == chunk->size_bytes) Drop(chunk);
  }
  Count(statistics_.hits);
  Count(statistics_.hit_bytes, cover.size_bytes);
  return payload;
}

void ReadAheadLayer::Ask(ReadRequest request, Reply<Payload> reply) {
  const uint64_t end = request.offset + request.size;
  ReadAheadFile* file = Local(request.open_id);
  if (file != nullptr && end > file->inode->size.load(std::memory_order_relaxed)) {
    // The file may have grown: a full answer says that there is more. How much the fetches will
    // find out.
    auto look = [inode = file->inode, offset = request.offset,
                 size = request.size](Result<Payload>& result) {
      if (!result.ok() || result->bytes.empty()) return;
      const uint64_t got = result->bytes.size();
      inode->RaiseSize(offset + got + (got == size ? kMoreReads * size : 0));
    };
    reply = asked_.Wrap(std::move(reply), std::move(look));
  }
  next().Read(std::move(request), std::move(reply));
}

// --- Reads that wait
// -------------------------------------------------------------------------------

void ReadAheadLayer::Wait(FetchedChunk& chunk, WaitingRead* read) {
  ++read->wait_count;
  WaitingRead** last = &chunk.waiting;  // answered in the order they came
  while (*last != nullptr) last = &(*last)->next;
  read->next = nullptr;
  *last = read;
}

void ReadAheadLayer::RunResumed() {
  while (resumed_ != nullptr) {
    WaitingRead* read = resumed_;
    resumed_ = read->next;
    Resume(read);
  }
}

void ReadAheadLayer::Resume(WaitingRead* read) {
  ReadAheadFile* file = Local(read->request.open_id);
  Cover cover;
  if (file != nullptr) {
    Refresh(*file);
    cover = file->Look(read->request.offset, read->request.size);
  }
  if (cover.kind == Cover::Kind::kOnTheWay && read->wait_count < kMaxWaits) {
    return Wait(*cover.awaited, read);
  }
  std::optional<Payload> payload;
  if (cover.kind == Cover::Kind::kReady) payload = Gather(cover, read->request.destination);
  ReadRequest request = std::move(read->request);
  Reply<Payload> reply = std::move(read->reply);
  waiting_.Return(read);
  if (payload) {
    Count(statistics_.waits);
    return reply.Complete(std::move(*payload));
  }
  Count(statistics_.misses);
  if (closed_) return reply.Complete(Errno(ENOTCONN));
  Ask(std::move(request), std::move(reply));
}

// --- Fetches
// ---------------------------------------------------------------------------------------

void ReadAheadLayer::FetchAhead(OpenId open_id, StreamId stream) {
  for (uint32_t i = 0; i < options_.max_in_flight; ++i) {
    if (!FetchNext(open_id, stream)) return;
  }
}

bool ReadAheadLayer::FetchNext(OpenId open_id, StreamId stream) {
  ReadAheadFile* file = Local(open_id);  // an asker may have released it
  if (file == nullptr || closed_) return false;
  if (statistics_.in_flight.load(std::memory_order_relaxed) >= options_.max_in_flight) return false;
  const ContentVersion::Value version = file->inode->content.version();
  if (version != file->version || ContentVersion::ChangeUnderWay(version)) return false;
  const std::optional<ReadAheadPolicy::Fetch> fetch = file->policy.Next(stream);
  if (!fetch) return false;
  if (file->Find(fetch->offset) != nullptr) return true;  // for another stream
  const ReadAheadMemory::Slice memory = TakeMemory(*file, *fetch);
  if (memory.block == nullptr) {
    file->policy.GiveBack(*fetch);
    return false;
  }
  DropOldest(*file, stream);
  FetchedChunk* chunk = chunks_.Take();
  chunk->file = file;
  chunk->stream = stream;
  chunk->offset = fetch->offset;
  chunk->asked_bytes = fetch->size;
  chunk->memory = memory;
  file->chunks.push_back(chunk);
  Count(statistics_.in_flight);
  next().Read(
      {open_id, fetch->offset, fetch->size, {{memory.data, fetch->size}, memory.block->buffer}},
      [this, chunk](Result<Payload> result) { OnFetched(chunk, std::move(result)); });
  return true;
}

ReadAheadMemory::Slice ReadAheadLayer::TakeMemory(ReadAheadFile& file,
                                                  const ReadAheadPolicy::Fetch& fetch) {
  const bool is_small =
      file.policy.window(fetch.stream) < memory_.block_bytes() / kSmallWindowDivisor;
  ReadAheadMemory::Cursor& cursor = is_small ? small_cursor_ : file.cursor;
  ReadAheadMemory::Slice slice = memory_.Take(cursor, fetch.size);
  if (slice.block == nullptr) {
    DropIdle();
    slice = memory_.Take(cursor, fetch.size);
  }
  statistics_.memory_bytes.store(memory_.used_bytes(), std::memory_order_relaxed);
  return slice;
}

void ReadAheadLayer::OnFetched(FetchedChunk* chunk, Result<Payload> result) {
  Count(statistics_.in_flight, uint64_t{0} - 1);
  if (result.ok()) Count(statistics_.fetched_bytes, result->bytes.size());
  if (!result.ok()) Count(statistics_.failures);
  // The end of all calls, not an answer: a read that asked again would come into a file system that
  // is being destroyed.
  if (result.error() == Errno(ENOTCONN)) closed_ = true;
  if (chunk->file == nullptr) {
    if (result.ok()) Count(statistics_.wasted_bytes, result->bytes.size());
    return Free(chunk);
  }
  Refresh(*chunk->file);  // may leave the chunk without a file
  if (chunk->file != nullptr && result.ok() && result->bytes.size() < chunk->asked_bytes) {
    chunk->file->inode->LowerSize(chunk->offset + result->bytes.size());
  }
  if (chunk->file == nullptr || !Keep(*chunk, result)) {
    if (result.ok()) Count(statistics_.wasted_bytes, result->bytes.size());
    if (chunk->file == nullptr) {
      Free(chunk);
    } else {
      chunk->ready = true;  // with no bytes
      Drop(chunk);
    }
    return RunResumed();
  }
  WaitingRead* waiting = std::exchange(chunk->waiting, nullptr);
  WaitingRead** last = &resumed_;
  while (*last != nullptr) last = &(*last)->next;
  *last = waiting;
  RunResumed();
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

// --- Dropping
// --------------------------------------------------------------------------------------

void ReadAheadLayer::Release(OpenId open_id, Reply<Unit> reply) {
  DropFile(open_id);
  RunResumed();  // what waits asks the server while the file is still open
  next().Release(open_id, std::move(reply));
}

void ReadAheadLayer::DropFile(OpenId open_id) {
  const auto found = files_.find(open_id);
  if (found == files_.end()) return;
  const std::unique_ptr<ReadAheadFile> file = std::move(found->second);
  files_.erase(found);
  DropChunks(*file);
  memory_.Close(file->cursor);
  statistics_.memory_bytes.store(memory_.used_bytes(), std::memory_order_relaxed);
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
  if (now < next_idle_check_) return;
  next_idle_check_ = now + kIdleCheckPeriod;
  for (auto& [open_id, file] : files_) {
    if (now - file->last_read < kIdle) continue;
    if (!file->chunks.empty()) {
      DropChunks(*file);
      file->policy.OnInvalidated();
    }
    memory_.Close(file->cursor);
  }
}

void ReadAheadLayer::Drop(FetchedChunk* chunk) {
  std::vector<FetchedChunk*>& chunks = chunk->file->chunks;
  chunks.erase(std::find(chunks.begin(), chunks.end(), chunk));
  chunk->file = nullptr;
  WaitingRead** last = &resumed_;
  while (*last != nullptr) last = &(*last)->next;
  *last = std::exchange(chunk->waiting, nullptr);
  if (!chunk->ready) return;  // its fetch will free it
  Count(statistics_.wasted_bytes, chunk->size_bytes - chunk->served_bytes);
  Free(chunk);
}

void ReadAheadLayer::Free(FetchedChunk* chunk) {
  memory_.Return(chunk->memory);
  statistics_.memory_bytes.store(memory_.used_bytes(), std::memory_order_relaxed);
  chunks_.Return(chunk);
}

}  // namespace rdmafs
