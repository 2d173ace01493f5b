#include "server/io_ring.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "absl/strings/str_cat.h"

namespace rdmafs::server {
namespace {

constexpr unsigned kEntries = 256;
constexpr unsigned kMaxInFlight =
    2 * kEntries;  // the completion queue's size, so that it never overflows

// The first set of flags that this kernel knows. TASKRUN_FLAG: it shows what is deferred to the
// next system call.
int Initialise(io_uring* ring) {
  int error = -EINVAL;
  for (unsigned flags :
       {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0u}) {
    io_uring_params params{};
    params.flags = flags;
    error = io_uring_queue_init_params(kEntries, ring, &params);
    if (error != -EINVAL) break;
  }
  // A child has no use for it; and User Mode Linux 7.2 loses count of the pages of a ring that was
  // forked.
  if (error == 0) io_uring_ring_dontfork(ring);
  return error;
}

}  // namespace

std::unique_ptr<IoRing> IoRing::Create(EventLoop& loop, std::string& why) {
  std::unique_ptr<IoRing> ring(new IoRing(loop));
  int error = Initialise(&ring->ring_);
  if (error != 0) {
    why = absl::StrCat("io_uring_setup: ", Errno(-error).ToString());
    ring->ring_.ring_fd = -1;
    return nullptr;
  }
  ring->wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  error = ring->wake_.valid() ? io_uring_register_eventfd(&ring->ring_, ring->wake_.get()) : -errno;
  if (error != 0) {
    why = absl::StrCat("io_uring eventfd: ", Errno(-error).ToString());
    return nullptr;
  }
  if (Errno added =
          loop.Add(ring->wake_.get(), EPOLLIN, [raw = ring.get()](uint32_t) { raw->Reap(); });
      !added.ok()) {
    why = absl::StrCat("io_uring eventfd: ", added.ToString());
    return nullptr;
  }
  return ring;
}

std::string IoRing::FindObstacle() {
  io_uring ring{};
  const int error = Initialise(&ring);
  if (error != 0) return absl::StrCat("io_uring_setup: ", Errno(-error).ToString());
  io_uring_queue_exit(&ring);
  return "";
}

IoRing::~IoRing() {
  if (ring_.ring_fd < 0) return;
  CHECK(in_flight_ == 0);
  if (wake_.valid()) loop_.Remove(wake_.get());
  io_uring_queue_exit(&ring_);
}

bool IoRing::Read(Call& call, int fd, absl::Span<std::byte> into, uint64_t offset,
                  Call::Step next) {
  io_uring_sqe* entry = TakeEntry(call, next);
  if (entry == nullptr) return false;
  io_uring_prep_read(entry, fd, into.data(), static_cast<unsigned>(into.size()), offset);
  io_uring_sqe_set_data(entry, &call);
  return true;
}

bool IoRing::Write(Call& call, int fd, absl::Span<const iovec> pieces, uint64_t offset,
                   Call::Step next) {
  io_uring_sqe* entry = TakeEntry(call, next);
  if (entry == nullptr) return false;
  io_uring_prep_writev(entry, fd, pieces.data(), static_cast<unsigned>(pieces.size()), offset);
  io_uring_sqe_set_data(entry, &call);
  return true;
}

io_uring_sqe* IoRing::TakeEntry(Call& call, Call::Step next) {
  if (in_flight_ == kMaxInFlight) return nullptr;
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    Submit();
    entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return nullptr;
  }
  ++in_flight_;
  if (unsubmitted_++ == 0) loop_.Defer([this] { Submit(); });
  call.io_next = next;
  return entry;
}

void IoRing::Submit() {
  if (unsubmitted_ == 0) return;
  int submitted = io_uring_submit(&ring_);
  if (submitted > 0) unsubmitted_ -= static_cast<unsigned>(submitted);
  // EAGAIN or EBUSY: the kernel is short of memory for requests; a little later it is not.
  if (unsubmitted_ != 0) loop_.After(kMillisecond, [this] { Submit(); });
}

void IoRing::Reap() {
  uint64_t count;
  [[maybe_unused]] ssize_t n = ::read(wake_.get(), &count, sizeof count);
  // Peeking enters the kernel when the flag says that something is deferred. That works off 20 at
  // once (io_uring/tw.c, since Linux 6.13), and if none of these ends, the eventfd is not written
  // for the rest. But the flag can be left over, as it is set after what it tells of can be seen,
  // and may have been worked off: it is believed as often as there can be something. For what
  // becomes deferred meanwhile the eventfd is written.
  unsigned left = in_flight_;
  do {
    io_uring_cqe* completion;
    while (io_uring_peek_cqe(&ring_, &completion) == 0) {
      Call& call = *static_cast<Call*>(io_uring_cqe_get_data(completion));
      call.io_result = completion->res;
      io_uring_cqe_seen(&ring_, completion);
      --in_flight_;
      call.io_next(call);
    }
  } while ((IO_URING_READ_ONCE(*ring_.sq.kflags) & IORING_SQ_TASKRUN) != 0 && left-- != 0);
}

}  // namespace rdmafs::server
