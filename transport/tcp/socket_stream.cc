#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "transport/base/pipe.h"
#include "transport/tcp/byte_stream.h"

namespace rdmafs {
namespace {

// Of what sendfile(2) does not send, at a time.
constexpr size_t kChunkBytes = 64 << 10;

ssize_t Send(int socket, const void* bytes, size_t size) {
  return send(socket, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

ssize_t SendZeros(int socket, size_t size) {
  static constexpr std::array<std::byte, kChunkBytes> kZeros{};
  return Send(socket, kZeros.data(), std::min(size, kZeros.size()));
}

// Of files that sendfile(2) cannot read.
ssize_t SendCopy(int socket, int fd, uint64_t offset, size_t size) {
  std::array<std::byte, kChunkBytes> chunk;
  const ssize_t got =
      pread(fd, chunk.data(), std::min(size, chunk.size()), static_cast<off_t>(offset));
  if (got < 0) return got;
  return got == 0 ? SendZeros(socket, size) : Send(socket, chunk.data(), static_cast<size_t>(got));
}

// By way of the thread's pipe, whose slots refer to the pages until the socket's queue does.
ssize_t SendPages(int socket, absl::Span<const std::byte> bytes) {
  Pipe& pipe = Pipe::OfThisThread();
  const int in = pipe.in();
  const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const ssize_t lent = in < 0 ? -1 : vmsplice(in, &part, 1, SPLICE_F_NONBLOCK);
  if (lent <= 0) return Send(socket, bytes.data(), bytes.size());
  ssize_t sent = 0;
  while (sent < lent) {
    const ssize_t moved = splice(pipe.out(), nullptr, socket, nullptr,
                                 static_cast<size_t>(lent - sent), SPLICE_F_NONBLOCK);
    if (moved <= 0) {
      const int error = errno;
      pipe.Drop(static_cast<size_t>(lent - sent));
      errno = error;
      return sent != 0 ? sent : moved;
    }
    sent += moved;
  }
  return sent;
}

}  // namespace

ssize_t SocketStream::ReadThrough(int fd, uint64_t offset, const iovec& part, size_t& written,
                                  bool& drained) {
  written = 0;
  Pipe& pipe = Pipe::OfThisThread();
  const int in = pipe.in();
  if (in < 0) return Read(&part, 1, drained);
  drained = false;  // less than was asked for may be all that the pipe takes
  const ssize_t got =
      splice(fd_, nullptr, in, nullptr, part.iov_len, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (got <= 0) return got;
  const auto size = static_cast<size_t>(got);
  auto to = static_cast<loff_t>(offset);
  while (written < size) {
    const ssize_t moved = splice(pipe.out(), nullptr, fd, &to, size - written, SPLICE_F_MOVE);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) break;
    written += static_cast<size_t>(moved);
  }
  if (pipe.Empty(static_cast<std::byte*>(part.iov_base) + written, size - written)) return got;
  errno = EIO;  // bytes of the stream are lost
  return -1;
}

template <typename Function>
ssize_t SocketStream::SendBefore(const iovec* parts, int count, Function more) {
  ssize_t done = 0;
  if (count != 0) {
    done = Send(parts, count, MSG_MORE);
    if (done < 0 || static_cast<size_t>(done) < BytesOf(parts, count)) return done;
  }
  const ssize_t sent = more();
  if (sent < 0) return done != 0 ? done : sent;
  return done + sent;
}

ssize_t SocketStream::WriteFile(const iovec* parts, int count, int fd, uint64_t offset,
                                size_t size, bool copied) {
  return SendBefore(parts, count, [&] {
    if (copied) return SendCopy(fd_, fd, offset, size);
    off_t from = static_cast<off_t>(offset);
    ssize_t sent = sendfile(fd_, fd, &from, size);
    if (sent == 0) sent = SendZeros(fd_, size);
    if (sent < 0 && errno == EINVAL) sent = SendCopy(fd_, fd, offset, size);
    return sent;
  });
}

ssize_t SocketStream::WritePages(const iovec* parts, int count, absl::Span<const std::byte> bytes) {
  return SendBefore(parts, count, [&] { return SendPages(fd_, bytes); });
}

}  // namespace rdmafs
