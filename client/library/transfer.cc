#include "client/library/transfer.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace rdmafs::library {
namespace {

absl::Span<std::byte> BytesOf(const iovec& piece) {
  return {static_cast<std::byte*>(piece.iov_base), piece.iov_len};
}

}  // namespace

Errno Transfer::Check(const Request& request) {
  if (Errno error = request.file.Allows(request.direction); !error.ok()) return error;
  uint64_t total = 0;
  for (const iovec& piece : request.pieces) {
    if (piece.iov_len > INT64_MAX - total) return Errno(EINVAL);
    total += piece.iov_len;
  }
  if (total > INT64_MAX - std::min<uint64_t>(request.offset, INT64_MAX)) return Errno(EINVAL);
  if (request.hold) return kOk;
  CallerMemory& memory = request.file.owner.memory();
  for (const iovec& piece : request.pieces) {
    const CallerMemory::Use use = memory.Begin(BytesOf(piece), request.direction);
    if (!use.range.empty()) {  // was checked when it was registered
      memory.End(use);
    } else if (Errno error = CheckMapped(BytesOf(piece), request.direction); !error.ok()) {
      return error;
    }
  }
  return kOk;
}

void Transfer::Start(FileSystem& file_system, Request request, Finish finish) {
  (new Transfer(file_system, std::move(request), finish))->Continue();
}

void Transfer::Continue() {
  if (continuing_) return;  // an answer inside Send()
  continuing_ = true;
  while (in_flight_ < kMaxCalls && position_ < end_) {
    Segment segment = Next();
    if (segment.memory.empty()) break;
    Send(std::move(segment));
  }
  continuing_ = false;
  if (in_flight_ != 0) return;
  const std::unique_ptr<Transfer> self(this);
  request_.hold = {};
  const uint64_t done = std::min(end_, position_);
  --request_.file.operation_count;
  if (done == 0 && !error_.ok()) return finish_(error_);
  finish_(static_cast<int64_t>(done));
}

Transfer::Segment Transfer::Next() {
  while (piece_ < request_.pieces.size() &&
         piece_offset_ == request_.pieces[piece_].iov_len) {
    ++piece_;
    piece_offset_ = 0;
  }
  if (piece_ == request_.pieces.size()) return {};
  const absl::Span<std::byte> rest = BytesOf(request_.pieces[piece_]).subspan(piece_offset_);
  Segment segment;
  segment.memory = rest.first(std::min<size_t>(rest.size(), wire::kMaxPayloadBytes));
  segment.position = position_;
  piece_offset_ += segment.memory.size();
  position_ += segment.memory.size();
  return segment;
}

PayloadMemory Transfer::Reach(Segment& segment) {
  Export& owner = request_.file.owner;
  const bool writes = request_.direction == Direction::kWriteFrom;
  const bool is_small = segment.memory.size() <= wire::kMaxInlineBytes;
  if (request_.hold) return {segment.memory, request_.hold, {}};
  // A small write's bytes are sent out of the library's memory; a small read's come in the answer.
  if (!is_small) segment.use = owner.memory().Begin(segment.memory, request_.direction);
  if (!segment.use.range.empty()) return {segment.memory, {}, segment.use.range};
  if (is_small && !writes) return {};
  if (is_small || (owner.registers_memory() && segment.memory.size() <= kMaxBounceBytes)) {
    segment.bounce = (is_small ? owner.messages() : owner.pool(request_.file.shard)).Take();
    if (segment.bounce) {
      const absl::Span<std::byte> bounce =
          segment.bounce.payload().first(segment.memory.size());
      if (writes) std::memcpy(bounce.data(), segment.memory.data(), bounce.size());
      return {bounce, segment.bounce, {}};
    }
    // The pool is empty: nothing but the caller's memory is left.
  }
  segment.once = owner.registers_memory() && !owner.memory().Keeps(segment.memory);
  if (segment.once) owner.traffic().call_registrations.fetch_add(1, std::memory_order_relaxed);
  return {segment.memory, {}, segment.memory};
}

void Transfer::Send(Segment segment) {
  const uint64_t offset = request_.offset + segment.position;
  PayloadMemory memory = Reach(segment);
  ++in_flight_;
  auto kept = std::make_unique<Segment>(std::move(segment));
  if (request_.direction == Direction::kReadTo) {
    const uint32_t size = static_cast<uint32_t>(kept->memory.size());
    file_system_.Read({request_.file.id, offset, size, std::move(memory)},
                      [this, kept = std::move(kept)](Result<Payload> result) {
                        OnRead(*kept, result);
                      });
    return;
  }
  if (memory.bytes.size() <= wire::kMaxInlineBytes && !memory.hold)
    return OnDone(*kept, Errno(ENOBUFS));
  const Caller& caller = request_.file.owner.caller();
  file_system_.Write({request_.file.id, offset, std::move(memory), 0, caller.uid, caller.gid},
                     [this, kept = std::move(kept)](Result<uint64_t> count) {
                       OnDone(*kept, std::move(count));
                     });
}

void Transfer::OnRead(Segment& segment, const Result<Payload>& result) {
  if (!result.ok()) return OnDone(segment, result.error());
  const absl::Span<const std::byte> bytes = result->bytes;
  if (bytes.size() > segment.memory.size()) return OnDone(segment, Errno(EIO));
  if (bytes.data() != segment.memory.data() && !bytes.empty()) {
    std::memcpy(segment.memory.data(), bytes.data(), bytes.size());
    Traffic& traffic = request_.file.owner.traffic();
    traffic.copied.fetch_add(bytes.size(), std::memory_order_relaxed);
    const bool bounced = segment.bounce && bytes.data() == segment.bounce.data();
    const bool inlined = bytes.size() <= wire::kMaxInlineBytes && !result->hold;
    (bounced   ? traffic.bounced
     : inlined ? traffic.inlined
               : traffic.read_ahead)
        .fetch_add(bytes.size(), std::memory_order_relaxed);
  } else {
    request_.file.owner.traffic().direct.fetch_add(bytes.size(), std::memory_order_relaxed);
  }
  OnDone(segment, uint64_t{bytes.size()});
}

void Transfer::OnDone(Segment& segment, Result<uint64_t> count) {
  Export& owner = request_.file.owner;
  owner.memory().End(segment.use);
  if (segment.once) owner.memory().Forget(segment.memory);
  if (request_.direction == Direction::kWriteFrom && count.ok()) {
    Traffic& traffic = owner.traffic();
    if (segment.bounce) traffic.copied.fetch_add(*count, std::memory_order_relaxed);
    (!segment.bounce                                    ? traffic.direct
     : segment.memory.size() <= wire::kMaxInlineBytes ? traffic.inlined
                                                        : traffic.bounced)
        .fetch_add(*count, std::memory_order_relaxed);
  }
  segment.bounce = {};
  const uint64_t done = count.ok() ? std::min<uint64_t>(*count, segment.memory.size()) : 0;
  if (done < segment.memory.size() && segment.position + done < end_) {
    end_ = segment.position + done;
    error_ = count.error();
  }
  --in_flight_;
  Continue();
}

}  // namespace rdmafs::library
