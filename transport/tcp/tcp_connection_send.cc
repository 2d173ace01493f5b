// TcpConnection: what it sends, and how that is to be answered.
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"
#include "transport/base/counter.h"
#include "transport/tcp/tcp_connection.h"

namespace rdmafs {
namespace {

// Payload of one round is sent before its end when there is so much of it: the peer can work
// meanwhile.
constexpr size_t kFlushBytes = 256 << 10;
constexpr size_t kPageBytes = 4096;
// Of a file's range that is to come in few pieces, how much of the end is copied: that lies in
// pieces of up to 32 KiB, and the rest of a MiB fits into a pipe of 256 pieces.
constexpr size_t kCopiedBytes = 112 << 10;

// What a stretch of a file comes in from this host: its pages, of which both parts count where a
// segment ends.
constexpr size_t PiecesOf(size_t size) {
  constexpr size_t kSegmentBytes = 65'000;
  return size / kPageBytes + size / kSegmentBytes + 2;
}

}  // namespace

Errno TcpConnection::Post(Outgoing message) {
  DCHECK(loop_ == nullptr || loop_->InLoopThread());
  CHECK(message.body.size() <= wire::kMaxBodyBytes);
  CHECK(message.inline_payload.size() <= wire::kMaxInlineBytes);
  if (closing_) return Errno(ENOTCONN);
  wire::MessageHeader& header = message.header;
  header.inline_size = static_cast<uint32_t>(message.inline_payload.size());
  header.size = static_cast<uint32_t>(sizeof header + message.body.size()) + header.inline_size;
  header.remote_address = 0;
  header.rkey = 0;
  const auto payload = role_ == Role::kServer                    ? message.push
                       : (header.flags & wire::kFlagSource) != 0 ? message.exposed
                                                                 : absl::Span<const std::byte>();
  SendQueue::Message queued{header, message.body, message.inline_payload, payload, Buffer()};
  if (role_ == Role::kClient) {
    if (!PrepareCall(message, queued)) return Errno(ENOTCONN);
  } else {
    PrepareReply(message);
    CHECK(message.push_file.size == 0 || (message.push.empty() && pushes_files()));
    header.remote_size = static_cast<uint32_t>(message.push.size() + message.push_file.size);
    queued.file = std::move(message.push_file);
    if (queued.file.size != 0 && (message.request_header->flags & wire::kFlagFewPieces) != 0)
      queued.copied_bytes = kCopiedBytes;
  }
  DCHECK(wire::FindHeaderFault(header, role_ == Role::kServer) == nullptr);
  queued.hold = std::move(message.hold);
  queue_.Push(std::move(queued));
  AddAsOnlyWriter(counters_.messages_sent);
  if (loop_ != nullptr && writable_ && queue_.size_bytes() >= kFlushBytes) Flush();
  Schedule();
  return kOk;
}

bool TcpConnection::PrepareCall(Outgoing& message, SendQueue::Message& queued) {
  wire::MessageHeader& header = message.header;
  CHECK(header.slot < wire::kMaxCredits);
  if (calls_.size() <= header.slot) calls_.resize(header.slot + size_t{1});
  Call& call = calls_[header.slot];
  if (call.in_flight) {
    // Its memory would be forgotten while the peer may still write to it. A server that says that a
    // call is over without ever replying to it brings a client here.
    Fail(absl::InvalidArgumentError(
        absl::StrCat("slot ", header.slot, " was used before its reply")));
    return false;
  }
  const bool source = (header.flags & wire::kFlagSource) != 0;
  const bool sink = (header.flags & wire::kFlagSink) != 0;
  call.in_flight = true;
  call.sequence = header.sequence;
  call.source_queued = source;
  if (source || sink) {
    call.hold = message.hold;
    header.remote_size = static_cast<uint32_t>(message.exposed.size());
  } else {
    header.remote_size = 0;
  }
  if (source) {
    queued.slot = header.slot;
    call.lent = Lendable(message);
    queued.lent_bytes = call.lent.size();
  }
  if (sink) {
    call.sink = message.exposed;
    call.by_pipe = message.by_pipe && WantsPipe(message.exposed.size(), header.flags);
    ++sinks_in_flight_;
    ChooseReadMode();
  }
  return true;
}

// Whether a call's payload is to come by pipe; `flags` are the call's. Where its end has to be
// copied for that, a call that is alone is faster without: the copy out of the socket goes on while
// the server sends. A peer on another host sends in smaller pieces than a page.
bool TcpConnection::WantsPipe(size_t size, uint16_t& flags) {
  if (size < kMinPipeBytes || !same_host_ || !stream_open_ || !stream_->fills_pipes()) return false;
  const size_t room = pipe_.RoomFor(size);
  if (PiecesOf(size) <= room) return true;
  constexpr size_t kCopiedPieces = 6;
  if (sinks_in_flight_ == 0 || PiecesOf(size - kCopiedBytes) + kCopiedPieces > room) return false;
  flags |= wire::kFlagFewPieces;
  return true;
}

// What the source begins with: whole pages of a block, of which TakeBackLent() can make others.
absl::Span<std::byte> TcpConnection::Lendable(const Outgoing& message) const {
  const absl::Span<std::byte> pages =
      message.exposed.first(message.exposed.size() / kPageBytes * kPageBytes);
  if (lender_ == nullptr || !same_host_ || pages.size() < SendQueue::kMinLentBytes || !message.hold)
    return {};
  const absl::Span<std::byte> block = message.hold.payload();
  const auto begin = reinterpret_cast<uintptr_t>(pages.data());
  const auto first = reinterpret_cast<uintptr_t>(block.data());
  const bool of_block = begin >= first && begin + pages.size() <= first + block.size();
  return of_block && begin % kPageBytes == 0 && stream_open_ && stream_->sends_pages() &&
                 lender_->renewable()
             ? pages
             : absl::Span<std::byte>();
}

// An answer to a call whose payload nobody asked for: that payload is not wanted.
void TcpConnection::PrepareReply(const Outgoing& message) {
  if (incoming_.state != Incoming::State::kOffered || incoming_.slot != message.header.slot ||
      incoming_.sequence != message.header.sequence) {
    return;
  }
  incoming_.state = Incoming::State::kSkipping;
  reader_.SkipPayload(incoming_.size - incoming_.head.size());
}

void TcpConnection::Flush() {
  if (!writable_ || !stream_open_) return;
  if (queue_.size_bytes() == 0 && !stream_->holds_output()) return;
  const auto progress = queue_.Flush(
      *stream_, [this](int slot) { calls_[static_cast<size_t>(slot)].source_queued = false; });
  counters_.bytes_sent.store(queue_.bytes_sent(), std::memory_order_relaxed);
  if (progress == SendQueue::Progress::kBlocked) writable_ = false;
  if (progress == SendQueue::Progress::kError) FailBecause("sending", queue_.error());
}

}  // namespace rdmafs
