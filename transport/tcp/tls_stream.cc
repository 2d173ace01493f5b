#include "transport/tcp/tls_stream.h"

#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;
// RFC 8446, 5.1; no message begins with it: its size would be too small.
constexpr uint8_t kHandshakeRecord = 22;
static_assert(kHandshakeRecord < sizeof(wire::MessageHeader));

// What is left of a list of parts, a record's worth after the other.
class PartsLeft {
 public:
  PartsLeft(const iovec* parts, int count) : part_(parts), end_(parts + count) { SkipEmpty(); }

  bool empty() const { return part_ == end_; }
  // Of a part that fills a record, or is the only one left, its own memory; else what fits into
  // `record` of it and those behind it.
  absl::Span<const std::byte> Next(absl::Span<std::byte> record) const {
    const absl::Span<const std::byte> first = Bytes(*part_).subspan(taken_);
    if (first.size() >= record.size() || part_ + 1 == end_) return first;
    size_t filled = 0;
    for (const iovec* part = part_; part != end_ && filled < record.size(); ++part) {
      const auto bytes = part == part_ ? first : Bytes(*part);
      const size_t size = std::min(bytes.size(), record.size() - filled);
      std::memcpy(record.data() + filled, bytes.data(), size);
      filled += size;
    }
    return record.first(filled);
  }
  void Take(size_t size) {
    taken_ += size;
    while (part_ != end_ && taken_ >= part_->iov_len) taken_ -= (part_++)->iov_len;
  }

 private:
  static absl::Span<const std::byte> Bytes(const iovec& part) {
    return {static_cast<const std::byte*>(part.iov_base), part.iov_len};
  }
  void SkipEmpty() { Take(0); }

  const iovec* part_;
  const iovec* const end_;
  size_t taken_ = 0;  // of part_
};

}  // namespace

TlsStream::TlsStream(int fd, std::unique_ptr<TlsSession> session, std::shared_ptr<StagingPool> pool,
                     uint64_t records_per_key)
    : session_(std::move(session)),
      records_per_key_(records_per_key),
      fd_(fd),
      socket_(fd, std::move(pool)) {
  BIO* bio = socket_.NewBio();
  SSL_set_bio(ssl(), bio, bio);
}

// Errors of libssl are the thread's: they must not look like somebody else's.
TlsStream::~TlsStream() { ERR_clear_error(); }

// --- Setting up ---

ByteStream::Opening TlsStream::Open() {
  if (session_->is_server && !looked_) return LookAtFirstByte();
  ERR_clear_error();
  const Outcome outcome = Judge(SSL_do_handshake(ssl()));
  socket_.Flush();  // an alert, too
  if (outcome == Outcome::kBlocked) return Opening::kBlocked;
  if (outcome != Outcome::kDone) return FailToOpen();
  absl::StatusOr<ChannelSecurity> security = session_->Describe();
  if (!security.ok()) {
    failure_ = security.status();
    return Opening::kFailed;
  }
  security_ = *std::move(security);
  return Opening::kOpen;
}

ByteStream::Opening TlsStream::LookAtFirstByte() {
  uint8_t first = 0;
  const ssize_t got = recv(fd_, &first, 1, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    return Opening::kBlocked;
  looked_ = true;
  // An end or an error is told by whoever reads.
  return got == 1 && first == kHandshakeRecord ? Opening::kBegun : Opening::kPlain;
}

ByteStream::Opening TlsStream::FailToOpen() {
  if (!failure_.ok()) return Opening::kFailed;  // libssl said it
  if (session_->is_server) {
    failure_ = absl::UnavailableError("the peer went away in the TLS handshake");
  } else if (!socket_.received()) {
    failure_ = absl::UnavailableError(
        "the server ends the connection when TLS begins: it does not speak TLS (rdmafsd -o "
        "tls=accepted), does not let this host in, or has too many handshakes under way");
  } else {
    failure_ = absl::UnavailableError("the server went away in the TLS handshake");
  }
  return Opening::kFailed;
}

// What SSL_get_error(3) makes of it. After a failure libssl must not be asked again.
TlsStream::Outcome TlsStream::Judge(int result) {
  if (result == 1) return Outcome::kDone;
  switch (SSL_get_error(ssl(), result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return Outcome::kBlocked;
    case SSL_ERROR_ZERO_RETURN:
      return Outcome::kEnd;
    case SSL_ERROR_SSL:
      failure_ = session_->Explain();
      [[fallthrough]];
    default:
      broken_ = true;
      return Outcome::kFailed;
  }
}

// --- Bytes ---

ssize_t TlsStream::Read(const iovec* parts, int count, bool& drained) {
  ERR_clear_error();
  size_t done = 0;
  Outcome outcome = Outcome::kDone;
  for (int i = 0; i < count && outcome == Outcome::kDone; ++i) {
    auto* to = static_cast<std::byte*>(parts[i].iov_base);
    // A record at a time.
    for (size_t filled = 0; filled < parts[i].iov_len && outcome == Outcome::kDone;) {
      size_t got = 0;
      outcome = ReadOnce(to + filled, parts[i].iov_len - filled, got);
      filled += got;
      done += got;
    }
  }
  drained = outcome == Outcome::kBlocked;
  return Result(done, outcome);
}

ssize_t TlsStream::Discard(size_t size, bool& drained) {
  std::byte unwanted[kRecordBytes];
  const iovec part{unwanted, std::min(size, sizeof unwanted)};
  return Read(&part, 1, drained);
}

TlsStream::Outcome TlsStream::ReadOnce(std::byte* to, size_t size, size_t& got) {
  return broken_ ? Outcome::kFailed : Judge(SSL_read_ex(ssl(), to, size, &got));
}

ssize_t TlsStream::Write(const iovec* parts, int count) {
  ERR_clear_error();
  size_t done = 0;
  Outcome outcome = Outcome::kDone;
  for (PartsLeft left(parts, count); !left.empty() && outcome == Outcome::kDone;) {
    std::byte record[kRecordBytes];
    size_t taken = 0;
    outcome = WriteOnce(left.Next(absl::MakeSpan(record)), taken);
    left.Take(taken);
    done += taken;
  }
  if (!socket_.Flush() && outcome == Outcome::kDone) {
    outcome = socket_.error() != 0 ? Outcome::kFailed : Outcome::kBlocked;
  }
  if (done == 0 && outcome == Outcome::kDone) return 0;
  return Result(done, outcome);
}

// One record. After kBlocked libssl has made it already, and wants to be given what it is of again:
// the same bytes come first in the parts of the next call.
TlsStream::Outcome TlsStream::WriteOnce(absl::Span<const std::byte> bytes, size_t& taken) {
  if (broken_) return Outcome::kFailed;
  if (records_ >= records_per_key_ && !record_waits_) {
    if (SSL_key_update(ssl(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) records_ = 0;
  }
  const Outcome outcome = Judge(SSL_write_ex(ssl(), bytes.data(), bytes.size(), &taken));
  record_waits_ = outcome == Outcome::kBlocked;
  records_ += outcome == Outcome::kDone ? 1 : 0;
  return outcome;
}

// As a system call has it. What is done counts first; the rest is told by the next call.
ssize_t TlsStream::Result(size_t done, Outcome outcome) {
  if (outcome == Outcome::kFailed) socket_.Flush();  // an alert
  if (done != 0) return static_cast<ssize_t>(done);
  if (outcome == Outcome::kEnd) return 0;
  const int error = socket_.error() != 0 ? socket_.error() : EPROTO;
  errno = outcome == Outcome::kBlocked ? EAGAIN : error;
  return -1;
}

void TlsStream::End() {
  if (broken_) return;
  ERR_clear_error();
  SSL_shutdown(ssl());
  socket_.Flush();
}

}  // namespace rdmafs
