// Pipe and PayloadPipe: pipe(2)s that carry references to pages from one descriptor to another, by
// splice(2).
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "absl/types/span.h"
#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// Opened when it is needed. Used by one thread at a time.
class Pipe {
 public:
  // The most that anyone may have (/proc/sys/fs/pipe-max-size), which is a reference for each
  // 4 KiB.
  static constexpr size_t kUsualBytes = 1 << 20;

  // Of this thread, and empty between two uses.
  static Pipe& OfThisThread();

  // It has `bytes` when it is opened, or what the system gives.
  explicit Pipe(size_t bytes = kUsualBytes) : wanted_bytes_(bytes) {}

  // Its write end; -1 when there is none to be had.
  int in() {
    if (!in_.valid()) Open();
    return in_.get();
  }
  int out() const { return out_.get(); }
  // What it may take of single pages, while in() is valid.
  size_t capacity_bytes() const { return capacity_bytes_; }
  // Whether it takes no reference more.
  bool full() const;

  // Takes out what is left, which nobody needs.
  void Drop(size_t size);
  // Takes out what is left. False when that failed; then there will be another pipe.
  bool Empty(std::byte* into, size_t size);
  void Close() {
    in_.reset();
    out_.reset();
  }

 private:
  void Open();

  const size_t wanted_bytes_;
  size_t capacity_bytes_ = 0;
  UniqueFd in_, out_, null_;
};

// A reply's payload in a pipe, where it needs not be copied into memory to be handed on: with room
// for a head before it, which is known later. Owned by a connection's shard thread.
class PayloadPipe {
 public:
  static constexpr size_t kHeadBytes = 16;

  PayloadPipe() = default;
  ~PayloadPipe();
  PayloadPipe(const PayloadPipe&) = delete;
  PayloadPipe& operator=(const PayloadPipe&) = delete;

  // How many pieces (pages, or more that lies together in the kernel's memory) it takes beside the
  // head, of a payload of `size` bytes: 0 when there is no pipe, or as much did not fit before.
  size_t RoomFor(size_t size);
  // Makes it ready for a payload of `size` bytes, while it is empty. False where RoomFor() is 0, or
  // it failed.
  bool Begin(size_t size);
  // Takes up to `size` bytes from a non-blocking socket, as recv(2). EAGAIN when there are none, or
  // it is full().
  ssize_t Fill(int socket, size_t size);
  bool full() const { return pipe_.full(); }
  // Puts what it holds into memory, since the rest does not fit; empty then. False: it is lost.
  bool Spill(std::byte* into);

  // Bytes of payload that it holds.
  size_t size() const { return size_; }
  // All of it goes, behind `head` (kHeadBytes), to another descriptor at once; empty then, whatever
  // came of it. EIO when only a part did.
  Errno MoveTo(int fd, absl::Span<const std::byte> head);
  // Empty, whatever it held.
  void Clear();

 private:
  // For more pieces than pages; it takes CAP_SYS_RESOURCE.
  static constexpr size_t kAmpleBytes = 2 * Pipe::kUsualBytes;

  Pipe pipe_{kAmpleBytes};
  std::byte* head_ = nullptr;  // a page that all processes would share, so that none gets a copy
  bool head_in_ = false;       // the pipe refers to it
  size_t size_ = 0;
  size_t begun_bytes_ = 0;
  size_t limit_bytes_ = SIZE_MAX;  // as much did not fit
};

}  // namespace rdmafs
