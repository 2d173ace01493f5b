// ByteStream and SocketStream: the bytes below a TcpConnection, as they are or through TLS
// (tls_stream.h).
#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "transport/base/channel_security.h"
#include "transport/base/pipe.h"

namespace rdmafs {

// A non-blocking stream over a connected socket, which it does not own. Used by one thread at a
// time, and under edge-triggered epoll(7): after kBlocked, EAGAIN or `drained` the next event says
// when to go on.
class ByteStream {
 public:
  enum class Opening {
    kOpen,     // bytes may go
    kPlain,    // the peer wants none of this stream: take a SocketStream
    kBegun,    // the peer has begun a handshake: ask again to have something done for it. Once
    kBlocked,  // ask again at the next event
    kFailed,   // see failure()
  };

  virtual ~ByteStream() = default;
  // Until it does not say kBlocked; nothing else is called before kOpen.
  virtual Opening Open() { return Opening::kOpen; }

  // As readv(2): the parts are filled in their order. 0 is the peer's end. `drained`: there is no
  // more until the next event.
  virtual ssize_t Read(const iovec* parts, int count, bool& drained) = 0;
  // The same for one part, of which the first `written` bytes went into a file instead: all, unless
  // it takes no more.
  virtual ssize_t ReadThrough(int fd, uint64_t offset, const iovec& part, size_t& written,
                              bool& drained) {
    written = 0;
    return Read(&part, 1, drained);
  }
  // The same for up to `size` bytes into a pipe, as references to the pages that they came in,
  // where fills_pipes(). EAGAIN also when it is full.
  virtual ssize_t ReadByPipe(PayloadPipe& pipe, size_t size) {
    errno = EOPNOTSUPP;
    return -1;
  }
  virtual bool fills_pipes() const { return false; }
  // The same for up to `size` bytes that nobody wants.
  virtual ssize_t Discard(size_t size, bool& drained) = 0;
  // As sendmsg(2), without a signal.
  virtual ssize_t Write(const iovec* parts, int count) = 0;
  // The same for the parts and, behind them, `size` bytes of a file, from where the page cache has
  // them or, `copied`, from a copy; what the file has no more of is sent as zeros. Where
  // sends_files(). SIGPIPE is to be ignored: sendfile(2) cannot do without.
  virtual ssize_t WriteFile(const iovec* parts, int count, int fd, uint64_t offset, size_t size,
                            bool copied) {
    errno = EOPNOTSUPP;
    return -1;
  }
  virtual bool sends_files() const { return false; }
  // The same for the parts and, behind them, bytes of this program's memory without a copy, where
  // sends_pages(). The kernel refers to their pages until the peer's program has taken them, and
  // that may be long after this socket was closed. SIGPIPE as above.
  virtual ssize_t WritePages(const iovec* parts, int count, absl::Span<const std::byte> bytes) {
    errno = EOPNOTSUPP;
    return -1;
  }
  virtual bool sends_pages() const { return false; }
  // Whether bytes that Write() took are still here; Write() without parts sends them on.
  virtual bool holds_output() const { return false; }
  // Tells the peer that no more comes, as far as that can be done at once.
  virtual void End() {}

  // Why it cannot go on, when errno(3) does not say it.
  virtual const absl::Status& failure() const = 0;
  // Once it is open: what protects it, or nullptr.
  virtual const ChannelSecurity* security() const { return nullptr; }
};

// The socket's own bytes.
class SocketStream final : public ByteStream {
 public:
  explicit SocketStream(int fd) : fd_(fd) {}

  ssize_t Read(const iovec* parts, int count, bool& drained) override {
    const ssize_t got = readv(fd_, parts, count);
    // epoll(7), edge-triggered: a stream that gave less than was asked for is drained.
    drained = got >= 0 && static_cast<size_t>(got) < BytesOf(parts, count);
    return got;
  }
  ssize_t ReadThrough(int fd, uint64_t offset, const iovec& part, size_t& written,
                      bool& drained) override;
  ssize_t ReadByPipe(PayloadPipe& pipe, size_t size) override { return pipe.Fill(fd_, size); }
  bool fills_pipes() const override { return true; }
  ssize_t Discard(size_t size, bool& drained) override {
    // tcp(7): with MSG_TRUNC the bytes are discarded, not copied. ThreadSanitizer would have
    // recv(2) write to nullptr.
    const ssize_t got =
        syscall(SYS_recvfrom, fd_, nullptr, size, MSG_TRUNC | MSG_DONTWAIT, nullptr, nullptr);
    drained = got >= 0 && static_cast<size_t>(got) < size;
    return got;
  }
  ssize_t Write(const iovec* parts, int count) override {
    return Send(parts, count, 0);
  }
  ssize_t WriteFile(const iovec* parts, int count, int fd, uint64_t offset, size_t size,
                    bool copied) override;
  bool sends_files() const override { return true; }
  ssize_t WritePages(const iovec* parts, int count, absl::Span<const std::byte> bytes) override;
  bool sends_pages() const override { return true; }
  const absl::Status& failure() const override { return none_; }

 private:
  ssize_t Send(const iovec* parts, int count, int flags) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);
    message.msg_iovlen = static_cast<size_t>(count);
    return sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
  }
  // The parts, as far as the socket takes them now, before `more`, whose result it is given: what
  // went in all, or the error of what went first.
  template <typename Function>
  ssize_t SendBefore(const iovec* parts, int count, Function more);
  static size_t BytesOf(const iovec* parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
    return bytes;
  }

  const int fd_;
  const absl::Status none_;
};

}  // namespace rdmafs
