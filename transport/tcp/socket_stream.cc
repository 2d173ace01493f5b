#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "transport/base/unique_fd.h"
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

// Where there is no pipe.
ssize_t CopyIntoFile(int socket, int fd, uint64_t offset, size_t size, size_t& written, int& file_error) {
  std::array<std::byte, kChunkBytes> chunk;
  const ssize_t got = recv(socket, chunk.data(), std::min(size, chunk.size()), MSG_DONTWAIT);
  while (got > 0 && written < static_cast<size_t>(got) && file_error == 0) {
    const ssize_t put = pwrite(fd, chunk.data() + written, static_cast<size_t>(got) - written,
                               static_cast<off_t>(offset + written));
    if (put > 0) written += static_cast<size_t>(put);
    if (put <= 0 && errno != EINTR) file_error = put < 0 ? errno : EIO;
  }
  return got;
}

// Between a socket and a file: of the thread, and empty outside ReadIntoFile().
class Pipe {
 public:
  static Pipe& OfThisThread() {
    thread_local Pipe pipe;
    return pipe;
  }
  // -1 with an errno(3) when there is none.
  int in() {
    if (!in_.valid()) Open();
    return in_.get();
  }
  int out() const { return out_.get(); }
  void Discard() {
    in_.reset();
    out_.reset();
  }

 private:
  void Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    out_.reset(ends[0]);
    in_.reset(ends[1]);
    fcntl(ends[0], F_SETPIPE_SZ, kPipeBytes);  // smaller ones do, too
  }

  static constexpr int kPipeBytes = 1 << 20;  // the most that anyone may have
  UniqueFd in_, out_;
};

}  // namespace

ssize_t SocketStream::ReadIntoFile(int fd, uint64_t offset, size_t size, size_t& written, int& file_error) {
  Pipe& pipe = Pipe::OfThisThread();
  const int in = pipe.in();
  if (in < 0) return CopyIntoFile(fd_, fd, offset, size, written, file_error);
  const ssize_t got = splice(fd_, nullptr, in, nullptr, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (got <= 0) return got;
  auto to = static_cast<loff_t>(offset);
  while (written < static_cast<size_t>(got)) {
    const ssize_t moved = splice(pipe.out(), nullptr, fd, &to, static_cast<size_t>(got) - written, SPLICE_F_MOVE);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) {
      file_error = moved < 0 ? errno : EIO;
      pipe.Discard();
      break;
    }
    written += static_cast<size_t>(moved);
  }
  return got;
}

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
