#include "transport/tcp/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace rdmafs {
namespace {

constexpr int kBacklog = 1024;
constexpr int kKeepAliveIdleSeconds = 10;
constexpr int kKeepAliveIntervalSeconds = 5;
constexpr int kKeepAliveProbes = 6;
// Also bounds how long the peer may keep its window shut (tcp(7)): longer than any disk should stall.
constexpr unsigned kUserTimeoutMilliseconds = 60'000;

struct Lookup {
  absl::Mutex mutex;
  bool done ABSL_GUARDED_BY(mutex) = false;
  int error ABSL_GUARDED_BY(mutex) = 0;
  std::vector<SocketAddress> addresses ABSL_GUARDED_BY(mutex);
};

int GetAddresses(const Endpoint& endpoint, int flags, std::vector<SocketAddress>& addresses) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string port = absl::StrCat(endpoint.port);
  const char* host = endpoint.host.empty() ? nullptr : endpoint.host.c_str();
  const int error = getaddrinfo(host, port.c_str(), &hints, &list);
  if (error != 0) return error;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.size = entry->ai_addrlen;
  }
  freeaddrinfo(list);
  return 0;
}

absl::Status LookupError(const Endpoint& endpoint, int error) {
  return absl::UnavailableError(
      absl::StrCat("cannot find the address of \"", endpoint.host, "\": ", gai_strerror(error)));
}

absl::Status ErrnoError(const char* what, const std::string& address, int error) {
  return absl::UnavailableError(absl::StrCat("cannot ", what, " ", address, ": ", Errno(error).ToString()));
}

int PollMilliseconds(Nanoseconds wait) {
  return static_cast<int>(std::clamp<Nanoseconds>((wait + kMillisecond - 1) / kMillisecond, 0, 1 << 30));
}

// connect(2) until `deadline`; 0 or an errno.
int ConnectUntil(int fd, const SocketAddress& address, const Clock& clock, Nanoseconds deadline) {
  if (connect(fd, address.get(), address.size) == 0) return 0;
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

}  // namespace

absl::StatusOr<UniqueFd> ConnectStream(const Endpoint& peer, const Clock& clock, Nanoseconds deadline,
                                       std::string& peer_address) {
  auto addresses = Resolve(peer, /*passive=*/false, clock, deadline);
  if (!addresses.ok()) return addresses.status();
  absl::Status last = absl::UnavailableError(absl::StrCat("\"", peer.host, "\" has no address"));
  for (size_t i = 0; i < addresses->size(); ++i) {
    const SocketAddress& address = (*addresses)[i];
    UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      last = ErrnoError("open a socket for", address.ToString(), errno);
      continue;
    }
    const Nanoseconds now = clock.Now();
    const Nanoseconds share = (deadline - now) / static_cast<Nanoseconds>(addresses->size() - i);
    const int error = ConnectUntil(fd.get(), address, clock, now + share);
    if (error == 0) {
      ConfigureStream(fd.get());
      peer_address = address.ToString();
      return fd;
    }
    last = ErrnoError("connect to", address.ToString(), error);
  }
  return last;
}

absl::StatusOr<UniqueFd> ListenStream(const Endpoint& endpoint, const Clock& clock, Nanoseconds deadline) {
  auto addresses = Resolve(endpoint, /*passive=*/true, clock, deadline);
  if (!addresses.ok()) return addresses.status();
  if (endpoint.host.empty()) {
    // One IPv6 socket takes IPv4 as well; it comes first where the host has IPv6 at all.
    std::stable_partition(addresses->begin(), addresses->end(), [](const SocketAddress& address) {
      return address.storage.ss_family == AF_INET6;
    });
  }
  absl::Status last = absl::UnavailableError(absl::StrCat("\"", endpoint.host, "\" has no address"));
  for (const SocketAddress& address : *addresses) {
    UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      last = ErrnoError("open a socket for", address.ToString(), errno);
      continue;
    }
    SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.storage.ss_family == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd.get(), address.get(), address.size) == 0 && listen(fd.get(), kBacklog) == 0) return fd;
    last = ErrnoError("listen on", address.ToString(), errno);
  }
  return last;
}

absl::StatusOr<std::vector<SocketAddress>> Resolve(const Endpoint& endpoint, bool passive,
                                                   const Clock& clock, Nanoseconds deadline) {
  const int flags = passive ? AI_PASSIVE : 0;
  std::vector<SocketAddress> addresses;
  int error = GetAddresses(endpoint, flags | AI_NUMERICHOST, addresses);
  if (error == 0) return addresses;
  if (error != EAI_NONAME) return LookupError(endpoint, error);

  auto lookup = std::make_shared<Lookup>();
  std::thread([lookup, endpoint, flags] {
    std::vector<SocketAddress> found;
    const int result = GetAddresses(endpoint, flags, found);
    absl::MutexLock lock(&lookup->mutex);
    lookup->error = result;
    lookup->addresses = std::move(found);
    lookup->done = true;
  }).detach();
  const auto wait = absl::Nanoseconds(std::max<Nanoseconds>(0, deadline - clock.Now()));
  absl::MutexLock lock(&lookup->mutex);
  if (!lookup->mutex.AwaitWithTimeout(absl::Condition(&lookup->done), wait)) {
    return absl::UnavailableError(
        absl::StrCat("cannot find the address of \"", endpoint.host, "\": the name lookup takes too long"));
  }
  if (lookup->error != 0) return LookupError(endpoint, lookup->error);
  return std::move(lookup->addresses);
}

void ConfigureStream(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUserTimeoutMilliseconds));
}

SocketAddress LocalAddress(int fd) {
  SocketAddress address;
  address.size = sizeof address.storage;
  if (getsockname(fd, address.get(), &address.size) != 0) address.size = 0;
  return address;
}

uint16_t SocketAddress::port() const {
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

std::string SocketAddress::ToString() const {
  char text[INET6_ADDRSTRLEN] = "?";
  if (storage.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
    if (!IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
      inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
      return absl::StrCat("[", text, "]:", port());
    }
    inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, sizeof text);
  } else if (storage.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, text, sizeof text);
  }
  return absl::StrCat(text, ":", port());
}

}  // namespace rdmafs
