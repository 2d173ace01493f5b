// IoRing: a shard's io_uring, for reads and writes that would have to wait for the disk.
#pragma once

#include <liburing.h>

#include <memory>
#include <string>

#include "server/call.h"
#include "transport/base/event_loop.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::server {

// Owned by one shard thread. Submits at the end of the loop's round, what it gathered in one system
// call; completions wake the loop through an eventfd.
class IoRing {
 public:
  // On the loop's thread (the kernel ties the ring to it). nullptr, and the reason in `why`, where
  // io_uring is not allowed or not there.
  static std::unique_ptr<IoRing> Create(EventLoop& loop, std::string& why);
  // Why there can be no ring in this process, "" when there can. Any thread.
  static std::string FindObstacle();
  // Nothing may be in flight.
  ~IoRing();

  // The result of the system call of that name, negative for an errno(3), is in call.io_result when
  // `next` runs on the shard's thread. False: the ring is full; nothing was begun.
  bool Read(Call& call, int fd, absl::Span<std::byte> into, uint64_t offset, Call::Step next);
  bool Write(Call& call, int fd, absl::Span<const iovec> pieces, uint64_t offset, Call::Step next);

 private:
  explicit IoRing(EventLoop& loop) : loop_(loop) {}
  io_uring_sqe* TakeEntry(Call& call, Call::Step next);
  void Submit();
  void Reap();

  EventLoop& loop_;
  io_uring ring_{};
  UniqueFd wake_;
  unsigned in_flight_ = 0;
  unsigned unsubmitted_ = 0;
};

}  // namespace rdmafs::server
