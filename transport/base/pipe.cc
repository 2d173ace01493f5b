#include "transport/base/pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr size_t kPieceBytes = 4096;  // of a pipe's size, for each of its slots

}  // namespace

Pipe& Pipe::OfThisThread() {
  thread_local Pipe pipe;
  return pipe;
}

void Pipe::Open() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  out_.reset(ends[0]);
  in_.reset(ends[1]);
  for (const size_t bytes : {wanted_bytes_, kUsualBytes}) {
    if (fcntl(ends[0], F_SETPIPE_SZ, static_cast<int>(bytes)) >= 0) break;
  }
  capacity_bytes_ = static_cast<size_t>(std::max(fcntl(ends[0], F_GETPIPE_SZ), 0));
}

bool Pipe::full() const {
  pollfd ready{in_.get(), POLLOUT, 0};
  return poll(&ready, 1, 0) == 0;
}

void Pipe::Drop(size_t size) {
  if (!null_.valid()) null_.reset(open("/dev/null", O_WRONLY | O_CLOEXEC));
  while (size != 0) {
    const ssize_t moved = splice(out_.get(), nullptr, null_.get(), nullptr, size, 0);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return Close();
    size -= static_cast<size_t>(moved);
  }
}

bool Pipe::Empty(std::byte* into, size_t size) {
  while (size != 0) {
    const ssize_t got = read(out_.get(), into, size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    into += got;
    size -= static_cast<size_t>(got);
  }
  if (size == 0) return true;
  Close();
  return false;
}

PayloadPipe::~PayloadPipe() {
  if (head_ != nullptr) munmap(head_, kHeadBytes);
}

size_t PayloadPipe::RoomFor(size_t size) {
  if (size >= limit_bytes_ || pipe_.in() < 0) return 0;
  return pipe_.capacity_bytes() / kPieceBytes - 1;
}

bool PayloadPipe::Begin(size_t size) {
  CHECK(size_ == 0);
  if (RoomFor(size) == 0) return false;
  if (head_ == nullptr) {
    void* page =
        mmap(nullptr, kHeadBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    head_ = static_cast<std::byte*>(page);
  }
  const iovec part{head_, kHeadBytes};
  if (!head_in_) head_in_ = vmsplice(pipe_.in(), &part, 1, SPLICE_F_NONBLOCK) == kHeadBytes;
  begun_bytes_ = size;
  return head_in_;
}

ssize_t PayloadPipe::Fill(int socket, size_t size) {
  const ssize_t got = splice(socket, nullptr, pipe_.in(), nullptr, size, SPLICE_F_NONBLOCK);
  if (got > 0) size_ += static_cast<size_t>(got);
  return got;
}

bool PayloadPipe::Spill(std::byte* into) {
  limit_bytes_ = begun_bytes_;
  std::byte head[kHeadBytes];
  const bool spilled = pipe_.Empty(head, kHeadBytes) && pipe_.Empty(into, size_);
  head_in_ = false;
  size_ = 0;
  return spilled;
}

Errno PayloadPipe::MoveTo(int fd, absl::Span<const std::byte> head) {
  CHECK(head.size() == kHeadBytes && head_in_);
  std::memcpy(head_, head.data(), kHeadBytes);
  const size_t size = kHeadBytes + size_;
  ssize_t moved;
  do {
    moved = splice(pipe_.out(), nullptr, fd, nullptr, size, 0);
  } while (moved < 0 && errno == EINTR);
  const Errno error = moved == static_cast<ssize_t>(size) ? kOk : Errno(moved < 0 ? errno : EIO);
  if (!error.ok()) pipe_.Close();  // how much of it was taken out depends on why it failed
  head_in_ = false;
  size_ = 0;
  return error;
}

void PayloadPipe::Clear() {
  pipe_.Close();
  head_in_ = false;
  size_ = 0;
}

}  // namespace rdmafs
