#include "transport/tcp/socket.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

constexpr int kBacklog = 1024;
constexpr int kKeepAliveIdleSeconds = 10;
constexpr int kKeepAliveIntervalSeconds = 5;
constexpr int kKeepAliveProbes = 6;
// Also bounds how long the peer may keep its window shut (tcp(7)): longer than any disk should
// stall.
constexpr unsigned kUserTimeoutMilliseconds = 60'000;
// What a connection within this host may have under way (socket(7): the kernel doubles it, and has
// a limit): less than the processor's caches take, so that the receiver finds there what the sender
// has copied.
constexpr int kSameHostSendBytes = 512 << 10;

absl::Status ErrnoError(const char* what, const std::string& address, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot ", what, " ", address, ": ", Errno(error).ToString()));
}

int PollMilliseconds(Nanoseconds wait) {
  return static_cast<int>(
      std::clamp<Nanoseconds>((wait + kMillisecond - 1) / kMillisecond, 0, 1 << 30));
}

// connect(2) until `deadline`; 0 or an errno.
int ConnectUntil(int fd, const SocketAddress& address, const Clock& clock, Nanoseconds deadline) {
  if (connect(fd, address.get(), address.size()) == 0) return 0;
  if (errno != EINPROGRESS && errno != EINTR) return errno;
  while (true) {
    pollfd entry{fd, POLLOUT, 0};
    const int ready = poll(&entry, 1, PollMilliseconds(deadline - clock.Now()));
    if (ready > 0) break;
    if (ready == 0) return ETIMEDOUT;
    if (errno != EINTR) return errno;
  }
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

void SetOption(int fd, int level, int name, int value) {
  // All of them only improve things: a socket without is still right.
  [[maybe_unused]] int result = setsockopt(fd, level, name, &value, sizeof value);
}

SocketAddress PeerAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return SocketAddress();
  return SocketAddress(reinterpret_cast<const sockaddr*>(&storage));
}

}  // namespace

absl::StatusOr<UniqueFd> ConnectStream(const Endpoint& peer, const Clock& clock,
                                       Nanoseconds deadline, SocketAddress& connected_to) {
  auto addresses = SocketAddress::Resolve(peer.host, peer.port, deadline - clock.Now());
  if (!addresses.ok()) return addresses.status();
  absl::Status last = absl::UnavailableError(absl::StrCat("\"", peer.host, "\" has no address"));
  for (size_t i = 0; i < addresses->size(); ++i) {
    const SocketAddress& address = (*addresses)[i];
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      last = ErrnoError("open a socket for", address.ToString(), errno);
      continue;
    }
    const Nanoseconds now = clock.Now();
    const Nanoseconds share = (deadline - now) / static_cast<Nanoseconds>(addresses->size() - i);
    const int error = ConnectUntil(fd.get(), address, clock, now + share);
    if (error == 0) {
      ConfigureStream(fd.get());
      connected_to = address;
      return fd;
    }
    last = ErrnoError("connect to", address.ToString(), error);
  }
  return last;
}

absl::StatusOr<UniqueFd> ListenStream(const Endpoint& endpoint, Nanoseconds timeout) {
  auto addresses = SocketAddress::Resolve(endpoint.host, endpoint.port, timeout);
  if (!addresses.ok()) return addresses.status();
  absl::Status last =
      absl::UnavailableError(absl::StrCat("\"", endpoint.host, "\" has no address"));
  // A wildcard IPv6 socket takes IPv4 as well; that of IPv4 is for hosts without IPv6.
  for (const SocketAddress& address : *addresses) {
    UniqueFd fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      last = ErrnoError("open a socket for", address.ToString(), errno);
      continue;
    }
    SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.family() == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd.get(), address.get(), address.size()) == 0 && listen(fd.get(), kBacklog) == 0)
      return fd;
    last = ErrnoError("listen on", address.ToString(), errno);
  }
  return last;
}

void ConfigureStream(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUserTimeoutMilliseconds));
  if (StaysOnThisHost(fd)) {
    SetOption(fd, SOL_SOCKET, SO_SNDBUF, kSameHostSendBytes);
    // There is no link whose capacity would have to be found out. An algorithm that paces (bbr)
    // sets a timer for nearly every segment: 295 us of CPU time for 1 MiB sent to this host,
    // against 118. reno is built into every kernel.
    [[maybe_unused]] int result = setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
  }
}

bool StaysOnThisHost(int fd) {
  const SocketAddress peer = PeerAddress(fd);
  return peer.IsLoopback() || (peer.size() != 0 && peer.host() == LocalAddress(fd).host());
}

SocketAddress LocalAddress(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return SocketAddress();
  return SocketAddress(reinterpret_cast<const sockaddr*>(&storage));
}

}  // namespace rdmafs
