// TcpConnection: how it ends, and why.
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/base/counter.h"
#include "transport/tcp/tcp_connection.h"

namespace rdmafs {

void TcpConnection::Close(absl::Status reason) {
  if (closing_) return;
  // A refusal that was posted right before the close should have its chance.
  if (loop_ != nullptr) Flush();
  if (reason.ok()) reason = absl::CancelledError("closed");
  Fail(std::move(reason));
  if (loop_ == nullptr) socket_.reset();
}

void TcpConnection::Fail(absl::Status reason) {
  if (std::exchange(closing_, true)) return;
  reason_ = std::move(reason);
  Schedule();
}

void TcpConnection::FailBecause(const char* doing, int error) {
  if (!stream_->failure().ok()) return Fail(stream_->failure());
  if (error == ECONNRESET || error == EPIPE) {
    return Fail(
        absl::UnavailableError(absl::StrCat("the peer reset the connection (while ", doing, ")")));
  }
  if (error == ETIMEDOUT) {
    return Fail(absl::UnavailableError("the peer does not answer any more (TCP time-out)"));
  }
  Fail(absl::UnavailableError(
      absl::StrCat("connection lost while ", doing, ": ", Errno(error).ToString())));
}

void TcpConnection::FailAtFault() {
  // RFC 8446, 5.1: a handshake's record of TLS.
  const bool tls = (reader_.faulty_header().size & 0xffff) == 0x0316;
  if (tls && role_ == Role::kServer &&
      counters_.messages_received.load(std::memory_order_relaxed) == 0) {
    return Fail(absl::InvalidArgumentError("it begins TLS, which is not spoken here (tls=off)"));
  }
  Fail(absl::InvalidArgumentError(absl::StrCat("the peer broke the protocol: ", reader_.fault())));
}

void TcpConnection::FailAtEnd() {
  if (!reader_.mid_frame() && !reply_ready_) {
    return Fail(absl::UnavailableError("the peer closed the connection"));
  }
  Fail(absl::UnavailableError("the peer closed the connection in the middle of a message"));
}

// All that this end still holds goes first; then the owner hears of the end, and may destroy us.
void TcpConnection::Finish() {
  if (std::exchange(finished_, true)) return;
  if (socket_.valid()) loop_->Remove(socket_.get());
  if (stream_open_) stream_->End();
  socket_.reset();
  queue_.Clear();
  TakeBackLent();
  calls_.clear();
  current_ = ReceivedMessage();
  pipe_.Clear();
  Incoming incoming = std::move(incoming_);
  incoming_ = Incoming();
  if (incoming.reply) incoming.reply.Complete(Errno(ENOTCONN));
  incoming.hold = Buffer();
  handler_->OnClosed(*this, reason_);
}

// The peer may yet read what was sent, however late; and the owner of a call's memory may change it
// as soon as we have ended. A call that was answered needs nothing: its payload has been read, or
// is never going to be looked at.
void TcpConnection::TakeBackLent() {
  for (const Call& call : calls_) {
    if (call.lent.empty()) continue;
    lender_->Renew(call.lent);
    AddAsOnlyWriter(counters_.copied_bytes, call.lent.size());
  }
}

}  // namespace rdmafs
