#include "tests/fuzz/tls_ends.h"

#include <algorithm>
#include <cstring>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr uint32_t kMaxAsked = 40;
constexpr uint16_t kSlots = 3;

}  // namespace

// --- WatchedStream ---

ByteStream::Opening WatchedStream::Open() {
  const Opening opening = stream_->Open();
  if (opening == Opening::kBegun) CHECK(!std::exchange(begun_, true));
  if (opening == Opening::kPlain) CHECK(!begun_);
  if (opening == Opening::kFailed) CHECK(!stream_->failure().ok());
  return opening;
}

ssize_t WatchedStream::Read(const iovec* parts, int count, bool& drained) {
  const ssize_t got = stream_->Read(parts, count, drained);
  size_t left = got > 0 ? static_cast<size_t>(got) : 0;
  CHECK(left <= sent_.size() - read_);
  for (int i = 0; i < count && left != 0; ++i) {
    const size_t size = std::min(left, parts[i].iov_len);
    CHECK(std::memcmp(parts[i].iov_base, sent_.data() + read_, size) == 0);
    read_ += size;
    left -= size;
  }
  CHECK(left == 0);
  return got;
}

ssize_t WatchedStream::Discard(size_t size, bool& drained) {
  const ssize_t got = stream_->Discard(size, drained);
  CHECK(got <= static_cast<ssize_t>(size));
  if (got > 0) read_ += static_cast<size_t>(got);
  CHECK(read_ <= sent_.size());
  return got;
}

// --- OurEnd ---

OurEnd::OurEnd(UniqueFd socket, std::unique_ptr<TlsSession> session, const std::string& sent,
               EventLoop& loop, const Options& options)
    : options_(options) {
  const int fd = socket.get();
  auto tls = std::make_unique<TlsStream>(fd, std::move(session), pool_, options.records_per_key);
  connection_ = std::make_unique<TcpConnection>(
      std::move(socket),
      options.is_server ? TcpConnection::Role::kServer : TcpConnection::Role::kClient, "peer",
      wire::kDefaultCredits, pool_, std::make_unique<WatchedStream>(std::move(tls), sent));
  for (uint16_t slot = 0; slot < kSlots && !options.is_server; ++slot) Ask(slot);
  connection_->Start(loop, *this);
}

OurEnd::~OurEnd() {
  CHECK(closed_);
  pulled_.clear();
  connection_.reset();
  CHECK(pool_->used_count() == 0);
}

void OurEnd::OnHandshake(Connection&) {
  CHECK(options_.is_server && !std::exchange(handshake_, true) &&
        connection_->security() == nullptr);
  if (options_.lets_nobody_in) Close();
}

void OurEnd::OnMessage(Connection&, ReceivedMessage message) {
  CHECK(!closed_);
  // TLS is over when the first message is there; a server was told of it first.
  CHECK(handshake_ == (options_.is_server && connection_->security() != nullptr));
  if (options_.is_server) return Serve(std::move(message));
  CHECK(connection_->security() != nullptr);
  Ask(message.header().slot);
}

// A write is pulled in slots of even numbers, and refused in others.
void OurEnd::Serve(ReceivedMessage message) {
  const wire::MessageHeader request = message.header();
  if ((request.flags & wire::kFlagSource) == 0 || request.slot % 2 != 0) {
    message.Drop();
    return Answer(request);
  }
  Pulled& pulled =
      pulled_.emplace_back(Pulled{std::move(message), std::vector<std::byte>(request.remote_size)});
  connection_->Pull(pulled.message, absl::MakeSpan(pulled.bytes), Buffer(),
                    [this, &pulled, request](Result<Connection::Pulled> result) {
                      if (!result.ok()) return;  // the end is near
                      CHECK(result->head.size() + result->rest.size() == request.remote_size);
                      pulled_.remove_if([&](const Pulled& one) { return &one == &pulled; });
                      Answer(request);
                    });
}

void OurEnd::Answer(const wire::MessageHeader& request) {
  Outgoing answer;
  answer.header.opcode = request.opcode;
  answer.header.slot = request.slot;
  answer.header.sequence = request.sequence;
  answer.header.flags = wire::kFlagReply;
  answer.header.credits = wire::kDefaultCredits;
  answer.request_header = &request;
  if ((request.flags & wire::kFlagSink) != 0) {
    answer.push =
        absl::MakeSpan(exposed_).first(std::min<size_t>(request.remote_size, exposed_.size()));
  }
  const Errno posted = connection_->Post(std::move(answer));
  CHECK(posted.ok() || posted.value() == ENOTCONN);
}

// Without memory, with memory to write to, with memory to read from.
void OurEnd::Ask(uint16_t slot) {
  if (++asked_ > kMaxAsked) return;
  Outgoing call;
  call.header.opcode = 3;
  call.header.slot = slot;
  call.header.sequence = asked_;
  if (slot == 1) call.header.flags = wire::kFlagSink;
  if (slot == 2) call.header.flags = wire::kFlagSource;
  if (slot != 0) call.exposed = absl::MakeSpan(exposed_);
  const Errno posted = connection_->Post(std::move(call));
  CHECK(posted.ok() || posted.value() == ENOTCONN);
}

void OurEnd::OnClosed(Connection&, const absl::Status& reason) {
  CHECK(!closed_ && !reason.ok());
  closed_ = true;
}

// --- PeerEnd ---

PeerEnd::PeerEnd(UniqueFd socket, std::unique_ptr<TlsSession> session)
    : socket_(std::move(socket)),
      ssl_(session->ssl.get()),
      stream_(std::make_unique<TlsStream>(socket_.get(), std::move(session), pool_)) {}

void PeerEnd::Advance() {
  if (ended_) return;
  if (opening_ == ByteStream::Opening::kBlocked) opening_ = stream_->Open();
  if (opening_ == ByteStream::Opening::kBegun) opening_ = stream_->Open();
  if (opening_ != ByteStream::Opening::kOpen) return;
  for (bool drained = false; !drained;) {
    if (stream_->Discard(SIZE_MAX, drained) <= 0) return;
  }
}

void PeerEnd::Send(std::string bytes) {
  if (ended_ || opening_ != ByteStream::Opening::kOpen) return;
  const iovec part{bytes.data(), bytes.size()};
  const ssize_t taken = stream_->Write(&part, 1);
  if (taken > 0) sent_.append(bytes, 0, static_cast<size_t>(taken));
  // libssl wants the same bytes again where the socket did not take them.
  if (taken != static_cast<ssize_t>(bytes.size())) ended_ = true;
}

void PeerEnd::UpdateKey(bool both) {
  if (ended_ || opening_ != ByteStream::Opening::kOpen) return;
  SSL_key_update(ssl_, both ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
}

void PeerEnd::End() {
  if (std::exchange(ended_, true) || opening_ != ByteStream::Opening::kOpen) return;
  stream_->End();
}

}  // namespace rdmafs
