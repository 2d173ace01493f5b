#include "fuse/init.h"

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fuse/page_fill.h"
#include "fuse/request.h"
#include "fuse/uring_abi.h"
#include "transport/base/log.h"

namespace rdmafs::fuse {
namespace {

constexpr uint32_t kPageBytes = 4096;
constexpr uint16_t kMaxBackground = 256;

constexpr uint64_t kWanted = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |
                             FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ATOMIC_O_TRUNC |
                             FUSE_CACHE_SYMLINKS | FUSE_AUTO_INVAL_DATA | FUSE_POSIX_LOCKS |
                             FUSE_FLOCK_LOCKS | FUSE_POSIX_ACL | FUSE_HANDLE_KILLPRIV_V2 |
                             FUSE_DONT_MASK | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_SETXATTR_EXT |
                             uint64_t{FUSE_INIT_EXT} | kInitDirectIoAllowMmap;

constexpr uint64_t Flags(const fuse_init_in& offer) {
  const bool extended = (offer.flags & FUSE_INIT_EXT) != 0;
  return offer.flags | (extended ? uint64_t{offer.flags2} << 32 : 0);
}

}  // namespace

absl::StatusOr<fuse_init_out> Negotiate(const fuse_init_in& offer, const Settings& settings) {
  if (offer.major != kMajor || offer.minor < kOldestMinor) {
    return absl::FailedPreconditionError(absl::StrCat("the kernel speaks FUSE ", offer.major, ".",
                                                      offer.minor, "; ", kMajor, ".", kOldestMinor,
                                                      " (Linux 5.4) or newer is needed"));
  }
  uint64_t wanted = kWanted;
  if (settings.writeback) wanted |= FUSE_WRITEBACK_CACHE;
  if (settings.over_io_uring) wanted |= kInitOverIoUring;
  const uint64_t flags = Flags(offer) & wanted;

  fuse_init_out answer{};
  answer.major = kMajor;
  answer.minor = std::min(offer.minor, kNewestMinor);
  answer.max_readahead = offer.max_readahead;
  answer.flags = static_cast<uint32_t>(flags);
  answer.flags2 = static_cast<uint32_t>(flags >> 32);
  answer.max_background = kMaxBackground;
  answer.congestion_threshold = kMaxBackground * 3 / 4;
  answer.max_write = settings.max_io_bytes;
  answer.time_gran = 1;
  answer.max_pages = static_cast<uint16_t>(settings.max_io_bytes / kPageBytes);
  return answer;
}

absl::Status AnswerInit(int fd, Settings& settings, Nanoseconds deadline) {
  const MonotonicClock clock;
  pollfd readable{fd, POLLIN, 0};
  const Nanoseconds left = std::max<Nanoseconds>(0, deadline - clock.Now());
  if (::poll(&readable, 1, static_cast<int>(left / kMillisecond)) <= 0) {
    return absl::DeadlineExceededError("the kernel did not begin the FUSE protocol");
  }
  std::vector<std::byte> bytes(kWritePrefixBytes + settings.max_io_bytes);
  const ssize_t n = ::read(fd, bytes.data(), bytes.size());
  if (n < 0) return absl::UnavailableError(absl::StrCat("/dev/fuse: ", std::strerror(errno)));
  auto request = ParseRequest({bytes.data(), static_cast<size_t>(n)});
  if (!request || request->header.opcode != FUSE_INIT || request->arguments.size() < 16) {
    return absl::InternalError("the kernel's first FUSE request is not INIT");
  }
  fuse_init_in offer{};
  std::memcpy(&offer, request->arguments.data(), std::min(sizeof offer, request->arguments.size()));

  absl::StatusOr<fuse_init_out> answer = Negotiate(offer, settings);
  fuse_out_header header{sizeof header, -EPROTO, request->header.unique};
  std::array<iovec, 2> parts = {iovec{&header, sizeof header}, iovec{nullptr, 0}};
  if (answer.ok()) {
    header.error = 0;
    header.len += sizeof *answer;
    parts[1] = {&*answer, sizeof *answer};
    settings.writeback = (answer->flags & FUSE_WRITEBACK_CACHE) != 0;
    settings.direct_io_allows_mmap =
        ((uint64_t{answer->flags2} << 32) & kInitDirectIoAllowMmap) != 0;
    settings.over_io_uring = ((uint64_t{answer->flags2} << 32) & kInitOverIoUring) != 0;
    settings.setxattr_extended = (answer->flags & FUSE_SETXATTR_EXT) != 0;
    utsname kernel;
    settings.fills_pages = ::uname(&kernel) == 0 && ClearsStoredTails(kernel);
    Log(LogLevel::kDebug, "FUSE ", offer.major, ".", offer.minor, ", flags 0x",
        absl::Hex(answer->flags), " 0x", absl::Hex(answer->flags2));
  }
  if (::writev(fd, parts.data(), answer.ok() ? 2 : 1) < 0) {
    return absl::UnavailableError(absl::StrCat("/dev/fuse: ", std::strerror(errno)));
  }
  return answer.status();
}

}  // namespace rdmafs::fuse
