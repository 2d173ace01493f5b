// SocketAddress: IPv4 and IPv6 addresses, from names and to text.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/base/clock.h"

namespace rdmafs {

// A value; thread-safe as any int is.
class SocketAddress {
 public:
  SocketAddress() = default;
  // `address` is a sockaddr_in or sockaddr_in6; anything else gives an empty one.
  explicit SocketAddress(const sockaddr* address);

  // All addresses for `host` ("name", "10.77.0.1", "::1", "[::1]"), IPv6 and IPv4 as getaddrinfo(3)
  // orders them; for "" the wildcard addresses, IPv6 first. Blocks for `timeout` at most.
  static absl::StatusOr<std::vector<SocketAddress>> Resolve(const std::string& host, uint16_t port,
                                                            Nanoseconds timeout);

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const;
  int family() const { return storage_.ss_family; }
  // Of 127.0.0.0/8 (also mapped into IPv6), or ::1.
  bool IsLoopback() const;
  uint16_t port() const;
  void set_port(uint16_t port);
  // "10.77.0.1", "fd00::1"; an IPv4 address mapped into IPv6 is written as IPv4. "" when empty.
  std::string host() const;
  // "10.77.0.1:20490", "[fd00::1]:20490".
  std::string ToString() const;

 private:
  sockaddr_storage storage_{};
};

}  // namespace rdmafs
