#include "fuse/device_channel.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "transport/base/log.h"

namespace rdmafs::fuse {
namespace {

constexpr int kRequestsPerRound = 16;
constexpr unsigned kRoundsPerLook = 8;
constexpr size_t kLargeBytes = 128 << 10;

bool IsLarge(const Request& request) {
  if (request.header.opcode == FUSE_WRITE) return request.arguments.size() >= kLargeBytes;
  fuse_read_in read{};
  return request.header.opcode == FUSE_READ && request.reader().Take(read) &&
         read.size >= kLargeBytes;
}

iovec Gather(absl::Span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace

DeviceChannel::DeviceChannel(UniqueFd fd, EventLoop& loop, BufferPool& pool, const Sharing& sharing)
    : fd_(std::move(fd)), loop_(loop), pool_(pool), sharing_(sharing) {
  CHECK(pool.options().headroom_bytes >= kWritePrefixBytes);
}

DeviceChannel::~DeviceChannel() { Stop(); }

Errno DeviceChannel::Start(RequestSink& sink) {
  sink_ = &sink;
  if (!sharing_.is_helper) return Watch();
  Rest();
  return kOk;
}

void DeviceChannel::Stop() {
  if (watching_) loop_.Remove(fd_.get());
  loop_.Cancel(rest_timer_);
  watching_ = false;
  sink_ = nullptr;
  spare_ = Buffer();
}

Errno DeviceChannel::Watch() {
  // One request wakes one idle shard, not all of them.
  Errno error = loop_.Add(fd_.get(), EPOLLIN | EPOLLEXCLUSIVE, [this](uint32_t) { OnReadable(); });
  watching_ = error.ok();
  return error;
}

void DeviceChannel::Rest() {
  sharing_.helpers->Rest(loop_, loop_.clock().Now(), [this] {
    if (sink_ == nullptr) return;
    if (Errno error = Watch(); !error.ok()) return Close(error);
    RestLater();
  });
}

void DeviceChannel::RestLater() {
  rest_timer_ = loop_.After(Helpers::kStay, [this] { RestUnlessWanted(); });
}

void DeviceChannel::RestUnlessWanted() {
  // One that waits for a block is to go on when that comes.
  if (!watching_ || sharing_.helpers->wanted(loop_.clock().Now())) return RestLater();
  loop_.Remove(fd_.get());
  watching_ = false;
  Rest();
}

void DeviceChannel::OnReadable() {
  // Where requests come one at a time, a second look only delays the first on its way: it comes
  // when that was sent, and seldom where it was in vain: the loop finds what it would find.
  const bool alone = taken_ <= 1;
  taken_ = 0;
  Take(alone ? 1 : kRequestsPerRound);
  const bool look = alone && taken_ == 1 && watching_ && rounds_alone_++ % kRoundsPerLook == 0;
  if (!look) {
    spare_ = Buffer();
    return;
  }
  loop_.Defer([this] {
    if (watching_) Take(kRequestsPerRound - 1);
    if (taken_ > 1) rounds_alone_ = 0;
    spare_ = Buffer();
  });
}

void DeviceChannel::Take(int limit) {
  for (int i = 0; i < limit; ++i) {
    if (!spare_) spare_ = pool_.Take();
    if (!spare_) return WaitForBlock();
    if (!ReadOne() || !watching_) return;
    ++taken_;
  }
}

// False when there is nothing more to take now.
bool DeviceChannel::ReadOne() {
  std::byte* const start = spare_.data() - kWritePrefixBytes;
  ssize_t n = ::read(fd_.get(), start, kWritePrefixBytes + spare_.size());
  if (n < 0) {
    if (errno == EINTR || errno == ENOENT) return true;  // ENOENT: aborted before it was read
    if (errno != EAGAIN) Close(Errno(errno));
    return false;
  }
  std::optional<Request> request = ParseRequest({start, static_cast<size_t>(n)});
  if (!request) {
    Log(LogLevel::kError, "a request of ", n, " bytes from /dev/fuse is not whole; ignored");
    return true;
  }
  request->block = std::move(spare_);
  request->ticket.start = loop_.clock().Now();
  if (sharing_.helpers != nullptr && sharing_.calls_for_large && IsLarge(*request))
    sharing_.helpers->Call(request->ticket.start);
  sink_->OnRequest(*request);
  if (watching_) spare_ = std::move(request->block);
  return true;
}

void DeviceChannel::WaitForBlock() {
  loop_.Remove(fd_.get());
  watching_ = false;
  // The loop outlives the pool's waiting list, and runs no task after its end.
  pool_.WhenAvailable([this] {
    loop_.Post([this] {
      if (sink_ == nullptr || watching_) return;
      if (Errno error = Watch(); !error.ok()) return Close(error);
      OnReadable();
    });
  });
}

void DeviceChannel::Close(Errno reason) {
  RequestSink* sink = sink_;
  Stop();
  if (sink != nullptr) sink->OnClosed(reason);
}

Errno DeviceChannel::Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
                           absl::Span<const std::byte> data) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof header + head.size() + data.size());
  header.error = -error.value();
  header.unique = ticket.unique;
  std::array<iovec, 3> parts = {iovec{&header, sizeof header}, Gather(head), Gather(data)};
  const ssize_t n = ::writev(fd_.get(), parts.data(), parts.size());
  if (n == static_cast<ssize_t>(header.len)) return kOk;
  return n < 0 ? Errno(errno) : Errno(EIO);
}

Errno DeviceChannel::ReplyByPipe(const Ticket& ticket, PayloadPipe& pipe) {
  fuse_out_header header{};
  static_assert(sizeof header == PayloadPipe::kHeadBytes);
  header.len = static_cast<uint32_t>(sizeof header + pipe.size());
  header.unique = ticket.unique;
  return pipe.MoveTo(fd_.get(), {reinterpret_cast<const std::byte*>(&header), sizeof header});
}

absl::Span<const std::byte> DeviceChannel::GiveUp(uint64_t unique, bool& answered) {
  Ticket ticket;
  ticket.unique = unique;
  // ENOENT: another channel's, or answered meanwhile.
  answered = Reply(ticket, Errno(EINTR), {}, {}).ok();
  return {};
}

Errno DeviceChannel::Notify(fuse_notify_code code, absl::Span<const std::byte> body,
                            absl::Span<const std::byte> data) {
  return fuse::Notify(fd_.get(), code, body, data);
}

Errno Notify(int fd, fuse_notify_code code, absl::Span<const std::byte> body,
             absl::Span<const std::byte> data) {
  fuse_out_header header{};
  header.len = static_cast<uint32_t>(sizeof header + body.size() + data.size());
  header.error = code;
  std::array<iovec, 3> parts = {iovec{&header, sizeof header}, Gather(body), Gather(data)};
  return ::writev(fd, parts.data(), parts.size()) < 0 ? Errno(errno) : kOk;
}

absl::StatusOr<UniqueFd> CloneDevice(int fd) {
  UniqueFd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!clone.valid()) {
    return absl::UnavailableError(absl::StrCat("cannot open /dev/fuse: ", std::strerror(errno)));
  }
  uint32_t source = static_cast<uint32_t>(fd);
  if (::ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &source) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot clone /dev/fuse: ", std::strerror(errno)));
  }
  return clone;
}

}  // namespace rdmafs::fuse
