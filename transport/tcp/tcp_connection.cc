#include "transport/tcp/tcp_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"
#include "transport/base/counter.h"
#include "transport/tcp/socket.h"

namespace rdmafs {
namespace {

// Payload of one round is sent before its end when there is so much of it: the peer can work
// meanwhile.
constexpr size_t kFlushBytes = 256 << 10;
// What one connection reads before others get their turn.
constexpr uint64_t kRoundBytes = 1 << 20;
// Writes come in runs: after one, so many messages are read without what may be the next one's
// payload.
constexpr int kExactMessages = 16;
constexpr size_t kPageBytes = 4096;
// As much as a server sends from the page cache; less gains little.
constexpr size_t kMinPipeBytes = 128 << 10;
// Of a file's range that is to come in few pieces, how much of the end is copied: that lies in
// pieces of up to 32 KiB, and the rest of a MiB fits into a pipe of 256 pieces.
constexpr size_t kCopiedBytes = 112 << 10;
constexpr size_t kMaxOutstanding = wire::kMaxCredits + 2;

// What a stretch of a file comes in from this host: its pages, of which both parts count where a
// segment ends.
constexpr size_t PiecesOf(size_t size) {
  constexpr size_t kSegmentBytes = 65'000;
  return size / kPageBytes + size / kSegmentBytes + 2;
}

}  // namespace

TcpConnection::TcpConnection(UniqueFd socket, Role role, std::string peer, uint16_t credits,
                             std::shared_ptr<StagingPool> pool, std::unique_ptr<ByteStream> stream,
                             Arena* lender)
    : role_(role),
      peer_(std::move(peer)),
      same_host_(StaysOnThisHost(socket.get())),
      pool_(std::move(pool)),
      lender_(lender),
      socket_(std::move(socket)),
      stream_(std::move(stream)),
      reader_(*pool_, role == Role::kClient) {
  credits_ = credits;
  if (stream_ == nullptr) {
    stream_ = std::make_unique<SocketStream>(socket_.get());
    stream_open_ = true;
  }
}

TcpConnection::~TcpConnection() { CHECK(loop_ == nullptr || finished_); }

void TcpConnection::Start(EventLoop& loop, ConnectionHandler& handler) {
  CHECK(loop_ == nullptr);
  loop_ = &loop;
  handler_ = &handler;
  if (!closing_) {
    // Edge-triggered: a paused connection costs no wake-ups, and a blocked one no epoll_ctl(2).
    Errno error = loop.Add(socket_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                           [this](uint32_t events) { OnEvent(events); });
    if (!error.ok()) FailBecause("watching the socket", error.value());
  }
  Schedule();
}

void TcpConnection::OnEvent(uint32_t events) {
  if (closing_) return;
  const bool broken = (events & (EPOLLERR | EPOLLHUP)) != 0;
  if (!stream_open_ && !OpenStream()) {
    if (broken && !closing_) FailBecause("setting up", ECONNRESET);
    return;
  }
  if ((events & (EPOLLIN | EPOLLRDHUP)) != 0 || broken) {
    reader_.MarkReadable(broken || (events & EPOLLRDHUP) != 0);
  }
  if ((events & EPOLLOUT) != 0 && !std::exchange(writable_, true)) Flush();
  Receive();
  // A payload that nobody has asked for yet keeps us from reading up to the error.
  if (broken && !closing_ && WaitsForOwner()) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    FailBecause("waiting", error != 0 ? error : ECONNRESET);
  }
}

// Whether the stream stands. What was posted meanwhile goes out now, and bytes may have come with
// the last of what set it up.
bool TcpConnection::OpenStream() {
  ByteStream::Opening opening = stream_->Open();
  if (opening == ByteStream::Opening::kPlain) {
    stream_ = std::make_unique<SocketStream>(socket_.get());
    opening = stream_->Open();
  }
  if (opening == ByteStream::Opening::kBegun) {
    handler_->OnHandshake(*this);
    if (closing_) return false;
    opening = stream_->Open();
  }
  if (opening == ByteStream::Opening::kFailed) Fail(stream_->failure());
  if (opening != ByteStream::Opening::kOpen) return false;
  stream_open_ = true;
  security_.store(stream_->security(), std::memory_order_release);
  reader_.MarkReadable(/*ending=*/false);
  if (queue_.size_bytes() != 0 || stream_->holds_output()) Schedule();
  return true;
}

void TcpConnection::Schedule() {
  if (loop_ == nullptr || std::exchange(scheduled_, true)) return;
  loop_->Defer([this] { EndOfRound(); });
}

void TcpConnection::EndOfRound() {
  scheduled_ = false;
  if (!closing_) Flush();
  if (!closing_ && !continuing_) Receive();
  // Not while a task that knows `this` is still to run: the owner may destroy us.
  if (closing_ && !continuing_ && !scheduled_) Finish();
}

// Lets the loop's other descriptors have their turn. Until the task has run, nothing else may
// finish us.
void TcpConnection::ContinueNextRound() {
  if (std::exchange(continuing_, true)) return;
  loop_->Post([this] {
    continuing_ = false;
    Schedule();
  });
}

// --- Sending ---

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
  if (lender_ == nullptr || pages.size() < SendQueue::kMinLentBytes || !message.hold) return {};
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

// --- Receiving ---

void TcpConnection::Receive() {
  if (std::exchange(receiving_, true)) return;
  const uint64_t begin = reader_.bytes_read();
  if (reply_ready_ && !WaitsForOwner()) DeliverReply();
  while (!closing_ && !WaitsForOwner()) {
    if (reader_.bytes_read() - begin > kRoundBytes) {
      ContinueNextRound();
      break;
    }
    const FrameReader::Event event = reader_.Next(*stream_);
    if (event == FrameReader::Event::kDrained) break;
    if (event == FrameReader::Event::kMessage) {
      OnMessage(reader_.TakeMessage());
    } else if (event == FrameReader::Event::kPayload) {
      OnPayload();
    } else if (event == FrameReader::Event::kFault) {
      FailAtFault();
    } else if (event == FrameReader::Event::kEnd) {
      FailAtEnd();
    } else {
      FailBecause("receiving", reader_.error());
    }
  }
  counters_.bytes_received.store(reader_.bytes_read(), std::memory_order_relaxed);
  receiving_ = false;
}

// Whether the next thing in the stream must wait: a payload for its Pull, or a reply until the
// memory that its call exposed is no longer being sent from.
bool TcpConnection::WaitsForOwner() const {
  if (incoming_.state == Incoming::State::kOffered) return true;
  return reply_ready_ && calls_[current_.header().slot].source_queued;
}

void TcpConnection::OnMessage(ReceivedMessage message) {
  if (role_ == Role::kServer) {
    OnRequest(std::move(message));
  } else {
    OnReply(std::move(message));
  }
}

void TcpConnection::OnRequest(ReceivedMessage request) {
  if (reader_.held_count() + queue_.message_count() > kMaxOutstanding) {
    return Fail(absl::InvalidArgumentError(absl::StrCat("the peer broke the protocol: more than ",
                                                        kMaxOutstanding, " calls outstanding")));
  }
  AddAsOnlyWriter(counters_.messages_received);
  const wire::MessageHeader& header = request.header();
  if ((header.flags & wire::kFlagSource) != 0) {
    incoming_.state = Incoming::State::kOffered;
    incoming_.slot = header.slot;
    incoming_.sequence = header.sequence;
    incoming_.size = header.remote_size;
    incoming_.head = reader_.TakeSwallowed(header.remote_size);
    // The next write most likely looks the same, so this reads it up to its payload.
    reader_.ReadExactly(header.size);
    exact_messages_ = kExactMessages;
  } else if (exact_messages_ > 0 && --exact_messages_ == 0) {
    reader_.ReadInBatches();
  }
  handler_->OnMessage(*this, std::move(request));
}

void TcpConnection::PullThrough(const ReceivedMessage& request, FileRange through,
                                absl::Span<std::byte> destination, Buffer hold,
                                Reply<Pulled> reply) {
  if (closing_) return reply.Complete(Errno(ENOTCONN));
  DCHECK(loop_->InLoopThread());
  CHECK(incoming_.state == Incoming::State::kOffered && incoming_.slot == request.header().slot);
  CHECK(destination.size() == incoming_.size);
  incoming_.state = Incoming::State::kPulling;
  incoming_.rest = destination.first(incoming_.size - incoming_.head.size());
  incoming_.hold = std::move(hold);
  incoming_.reply = std::move(reply);
  incoming_.through = std::move(through);
  if (incoming_.through.size != 0) {
    reader_.ReadPayloadThrough(incoming_.through, incoming_.head, incoming_.rest);
  } else {
    reader_.ReadPayload(incoming_.rest);
  }
  if (!receiving_) Schedule();
}

void TcpConnection::OnReply(ReceivedMessage reply) {
  const wire::MessageHeader& header = reply.header();
  if (header.slot >= calls_.size() || !calls_[header.slot].in_flight ||
      calls_[header.slot].sequence != header.sequence) {
    return Fail(absl::InvalidArgumentError("the peer broke the protocol: reply without a call"));
  }
  AddAsOnlyWriter(counters_.messages_received);
  const Call& call = calls_[header.slot];
  if (header.remote_size > call.sink.size()) {
    return Fail(absl::InvalidArgumentError(
        absl::StrCat("the peer broke the protocol: ", header.remote_size,
                     " bytes of payload for a sink of ", call.sink.size())));
  }
  current_ = std::move(reply);
  if (current_.header().remote_size == 0) {
    reply_ready_ = true;
    if (!WaitsForOwner()) DeliverReply();
  } else if (reader_.unparsed_bytes() != 0) {
    // With a sink in flight nothing beyond a header is read, so this was sent before the call was.
    Fail(absl::InvalidArgumentError("the peer broke the protocol: payload before its call"));
  } else {
    const absl::Span<std::byte> sink = call.sink.first(current_.header().remote_size);
    if (call.by_pipe && sink.size() >= kMinPipeBytes && pipe_.Begin(sink.size())) {
      reader_.ReadPayloadByPipe(pipe_, sink);
    } else {
      reader_.ReadPayload(sink);
    }
  }
}

void TcpConnection::OnPayload() {
  if (role_ == Role::kClient) {
    reply_ready_ = true;
    return DeliverReply();
  }
  const bool pulled = incoming_.state == Incoming::State::kPulling;
  incoming_.state = Incoming::State::kNone;
  if (!pulled) return;
  Buffer hold = std::move(incoming_.hold);
  Reply<Pulled> reply = std::move(incoming_.reply);
  const size_t written = reader_.written_through();
  incoming_.through = FileRange();
  const size_t of_head = std::min(written, incoming_.head.size());
  reply.Complete(Pulled{incoming_.head.subspan(of_head), incoming_.rest.subspan(written - of_head),
                        written});
}

void TcpConnection::DeliverReply() {
  reply_ready_ = false;
  ReceivedMessage reply = std::move(current_);
  Call& call = calls_[reply.header().slot];
  Buffer hold = std::move(call.hold);
  if (!call.sink.empty()) --sinks_in_flight_;
  call = Call();
  ChooseReadMode();
  if (pipe_.size() == 0) return handler_->OnMessage(*this, std::move(reply));
  reply.set_payload_pipe(&pipe_);
  handler_->OnMessage(*this, std::move(reply));
  if (pipe_.size() != 0) pipe_.Clear();
}

void TcpConnection::ChooseReadMode() {
  if (sinks_in_flight_ != 0) {
    reader_.ReadExactly(sizeof(wire::MessageHeader));
  } else {
    reader_.ReadInBatches();
  }
}

}  // namespace rdmafs
