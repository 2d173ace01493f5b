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

// What one connection reads before others get their turn.
constexpr uint64_t kRoundBytes = 1 << 20;
// Writes come in runs: after one, so many messages are read without what may be the next one's
// payload.
constexpr int kExactMessages = 16;
constexpr size_t kMaxOutstanding = wire::kMaxCredits + 2;

}  // namespace

TcpConnection::TcpConnection(UniqueFd socket, Role role, std::string peer, uint16_t credits,
                             std::shared_ptr<StagingPool> pool, std::unique_ptr<ByteStream> stream,
                             Arena* lender)
    : role_(role),
      peer_(std::move(peer)),
      same_host_(role == Role::kClient && StaysOnThisHost(socket.get())),
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
