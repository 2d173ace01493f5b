#include "client/read_ahead_layer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "transport/base/counter.h"

namespace rdmafs {
namespace {

// A read whose data were invalidated so often while it waited asks the server itself.
constexpr uint32_t kMaxWaits = 4;
// So many more reads are looked for behind the known end of a file that has grown.
constexpr uint64_t kMoreReads = 16;

void Append(WaitingRead*& list, WaitingRead* reads) {
  WaitingRead** last = &list;  // answered in the order they came
  while (*last != nullptr) last = &(*last)->next;
  *last = reads;
}

}  // namespace

ReadAheadLayer::ReadAheadLayer(FileSystem& next, EventLoop& loop, BufferPool& pool,
                               ReadAheadFiles& files, uint32_t max_in_flight)
    : Layer(next), max_in_flight_(max_in_flight), loop_(loop), pool_(pool), files_(files) {}

// --- Reads ---

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
    AddAsOnlyWriter(statistics_.misses);
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
  AddAsOnlyWriter(statistics_.invalidations);
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
  AddAsOnlyWriter(statistics_.hits);
  AddAsOnlyWriter(statistics_.hit_bytes, cover.size_bytes);
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
  AddAsOnlyWriter(statistics_.copied_bytes, hit.size_bytes);
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

// --- Reads that wait ---

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
    AddAsOnlyWriter(statistics_.waits);
    return reply.Complete(Assemble(hit, request.destination));
  }
  AddAsOnlyWriter(statistics_.misses);
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
        if (read->asked != this || read->request.destination.bytes.data() != memory.data())
          continue;
        *at = read->next;
        return read;
      }
    }
  }
  return nullptr;
}

}  // namespace rdmafs
