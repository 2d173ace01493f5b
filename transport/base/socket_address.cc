#include "transport/base/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"

namespace rdmafs {
namespace {

addrinfo Hints(int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  return hints;
}

std::vector<SocketAddress> TakeList(addrinfo* list) {
  std::vector<SocketAddress> addresses;
  for (addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family == AF_INET || entry->ai_family == AF_INET6) {
      addresses.emplace_back(entry->ai_addr);
    }
  }
  freeaddrinfo(list);
  return addresses;
}

absl::StatusOr<std::vector<SocketAddress>> Found(const std::string& host, int error, addrinfo* list) {
  if (error == EAI_SYSTEM) {
    return absl::UnavailableError(absl::StrCat("cannot look up ", host, ": ", Errno(errno).ToString()));
  }
  if (error != 0) {
    return absl::NotFoundError(absl::StrCat("cannot look up ", host, ": ", gai_strerror(error)));
  }
  return TakeList(list);
}

// What a look-up in the background reads and writes. One that cannot be cancelled keeps it for good.
struct Lookup {
  std::string host, service;
  addrinfo hints = Hints(AI_ADDRCONFIG);
  gaicb control{};
};

absl::StatusOr<std::vector<SocketAddress>> ResolveName(const std::string& host, uint16_t port,
                                                       Nanoseconds timeout) {
  auto lookup = std::make_unique<Lookup>();
  lookup->host = host;
  lookup->service = absl::StrCat(port);
  lookup->control.ar_name = lookup->host.c_str();
  lookup->control.ar_service = lookup->service.c_str();
  lookup->control.ar_request = &lookup->hints;
  gaicb* list[] = {&lookup->control};
  int error = getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr);
  if (error != 0) return Found(host, error, nullptr);
  const MonotonicClock clock;
  const Nanoseconds deadline = clock.Now() + timeout;
  while ((error = gai_error(&lookup->control)) == EAI_INPROGRESS) {
    const Nanoseconds left = deadline - clock.Now();
    if (left <= 0) {
      if (gai_cancel(&lookup->control) == EAI_NOTCANCELED) lookup.release();
      return absl::DeadlineExceededError(absl::StrCat("no answer when looking up ", host));
    }
    const timespec wait{.tv_sec = left / kSecond, .tv_nsec = left % kSecond};
    gai_suspend(list, 1, &wait);
  }
  return Found(host, error, lookup->control.ar_result);
}

}  // namespace

SocketAddress::SocketAddress(const sockaddr* address) {
  if (address->sa_family == AF_INET) std::memcpy(&storage_, address, sizeof(sockaddr_in));
  if (address->sa_family == AF_INET6) std::memcpy(&storage_, address, sizeof(sockaddr_in6));
}

absl::StatusOr<std::vector<SocketAddress>> SocketAddress::Resolve(const std::string& host, uint16_t port,
                                                                  Nanoseconds timeout) {
  if (host.empty()) {
    sockaddr_in6 any6{.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    sockaddr_in any4{.sin_family = AF_INET, .sin_port = htons(port)};
    return std::vector{SocketAddress(reinterpret_cast<sockaddr*>(&any6)),
                       SocketAddress(reinterpret_cast<sockaddr*>(&any4))};
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const std::string bare = bracketed ? host.substr(1, host.size() - 2) : host;
  const addrinfo hints = Hints(AI_NUMERICHOST | AI_NUMERICSERV);
  addrinfo* list = nullptr;
  if (getaddrinfo(bare.c_str(), absl::StrCat(port).c_str(), &hints, &list) == 0) return TakeList(list);
  return ResolveName(bare, port, timeout);
}

socklen_t SocketAddress::size() const {
  if (family() == AF_INET) return sizeof(sockaddr_in);
  if (family() == AF_INET6) return sizeof(sockaddr_in6);
  return 0;
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage_).sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage_).sin6_port);
  return 0;
}

std::string SocketAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(storage_).sin_addr, text, sizeof text);
  } else if (family() == AF_INET6) {
    const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(storage_).sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&address)) {
      inet_ntop(AF_INET, address.s6_addr + 12, text, sizeof text);
    } else {
      inet_ntop(AF_INET6, &address, text, sizeof text);
    }
  }
  return text;
}

std::string SocketAddress::ToString() const {
  const std::string name = host();
  if (name.find(':') != std::string::npos) return absl::StrCat("[", name, "]:", port());
  return absl::StrCat(name, ":", port());
}

}  // namespace rdmafs
