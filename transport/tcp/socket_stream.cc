#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>

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
  const ssize_t got = pread(fd, chunk.data(), std::min(size, chunk.size()), static_cast<off_t>(offset));
  if (got < 0) return got;
  return got == 0 ? SendZeros(socket, size) : Send(socket, chunk.data(), static_cast<size_t>(got));
}

}  // namespace

ssize_t SocketStream::WriteFile(const iovec* parts, int count, int fd, uint64_t offset, size_t size) {
  size_t done = 0;
  if (count != 0) {
    const ssize_t sent = Send(parts, count, MSG_MORE);
    if (sent < 0) return sent;
    done = static_cast<size_t>(sent);
    if (done < BytesOf(parts, count)) return sent;
  }
  off_t from = static_cast<off_t>(offset);
  ssize_t sent = sendfile(fd_, fd, &from, size);
  if (sent == 0) sent = SendZeros(fd_, size);
  if (sent < 0 && errno == EINVAL) sent = SendCopy(fd_, fd, offset, size);
  if (sent < 0) return done != 0 ? static_cast<ssize_t>(done) : sent;
  return static_cast<ssize_t>(done) + sent;
}

}  // namespace rdmafs
