#include "transport/base/socket_address.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

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

struct Answer {
  int error = 0;         // EAI_*
  int system_error = 0;  // errno(3) for EAI_SYSTEM
  std::vector<SocketAddress> addresses;
};

Answer LookUp(const std::string& host, uint16_t port) {
  const addrinfo hints = Hints(AI_ADDRCONFIG | AI_NUMERICSERV);
  addrinfo* list = nullptr;
  Answer answer;
  answer.error = getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &hints, &list);
  answer.system_error = errno;
  if (answer.error == 0) answer.addresses = TakeList(list);
  return answer;
}

// getaddrinfo(3) cannot be interrupted: it runs in a thread of its own, which is left behind when
// it takes too long. (getaddrinfo_a(3) does the same, but by a thread that ThreadSanitizer does not
// survive.)
absl::StatusOr<std::vector<SocketAddress>> ResolveName(const std::string& host, uint16_t port,
                                                       Nanoseconds timeout) {
  auto promise = std::make_shared<std::promise<Answer>>();
  std::future<Answer> future = promise->get_future();
  try {
    std::thread([promise, host, port] { promise->set_value(LookUp(host, port)); }).detach();
  } catch (const std::system_error& error) {
    return absl::UnavailableError(absl::StrCat("cannot look up ", host, ": ", error.what()));
  }
  if (future.wait_for(std::chrono::nanoseconds(timeout)) != std::future_status::ready) {
    return absl::DeadlineExceededError(absl::StrCat("no answer when looking up ", host));
  }
  Answer answer = future.get();
  if (answer.error == EAI_SYSTEM) {
    return absl::UnavailableError(
        absl::StrCat("cannot look up ", host, ": ", Errno(answer.system_error).ToString()));
  }
  if (answer.error != 0) {
    return absl::NotFoundError(
        absl::StrCat("cannot look up ", host, ": ", gai_strerror(answer.error)));
  }
  return std::move(answer.addresses);
}

}  // namespace

SocketAddress::SocketAddress(const sockaddr* address) {
  if (address->sa_family == AF_INET) std::memcpy(&storage_, address, sizeof(sockaddr_in));
  if (address->sa_family == AF_INET6) std::memcpy(&storage_, address, sizeof(sockaddr_in6));
}

absl::StatusOr<std::vector<SocketAddress>> SocketAddress::Resolve(const std::string& host,
                                                                  uint16_t port,
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
  if (getaddrinfo(bare.c_str(), absl::StrCat(port).c_str(), &hints, &list) == 0)
    return TakeList(list);
  return ResolveName(bare, port, timeout);
}

socklen_t SocketAddress::size() const {
  if (family() == AF_INET) return sizeof(sockaddr_in);
  if (family() == AF_INET6) return sizeof(sockaddr_in6);
  return 0;
}

bool SocketAddress::IsLoopback() const {
  if (family() == AF_INET) {
    const auto& address = reinterpret_cast<const sockaddr_in&>(storage_);
    return (ntohl(address.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
  }
  if (family() != AF_INET6) return false;
  const in6_addr& address = reinterpret_cast<const sockaddr_in6&>(storage_).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&address)) return address.s6_addr[12] == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK(&address);
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage_).sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage_).sin6_port);
  return 0;
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET) reinterpret_cast<sockaddr_in&>(storage_).sin_port = htons(port);
  if (family() == AF_INET6) reinterpret_cast<sockaddr_in6&>(storage_).sin6_port = htons(port);
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
