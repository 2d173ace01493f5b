// Stream sockets: names to addresses, connecting and listening with a deadline, options, printing.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/base/clock.h"
#include "transport/base/unique_fd.h"
#include "transport/connection.h"

namespace rdmafs {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  uint16_t port() const;
  // "10.77.0.1:20490", "[fe80::1]:20490"; an IPv4 address mapped into IPv6 prints as IPv4.
  std::string ToString() const;
};

// The addresses of `endpoint`, in the resolver's order. A numeric host needs no resolver; a name is looked
// up in a thread of its own, which is left behind when the deadline passes first.
absl::StatusOr<std::vector<SocketAddress>> Resolve(const Endpoint& endpoint, bool passive,
                                                   const Clock& clock, Nanoseconds deadline);

// A connected, non-blocking socket with ConfigureStream() done. The addresses are tried in turn, each with
// its share of the time that is left.
absl::StatusOr<UniqueFd> ConnectStream(const Endpoint& peer, const Clock& clock, Nanoseconds deadline,
                                       std::string& peer_address);

// A listening, non-blocking socket. An empty host is all addresses, of IPv6 and IPv4.
absl::StatusOr<UniqueFd> ListenStream(const Endpoint& endpoint, const Clock& clock, Nanoseconds deadline);

// No Nagle delay, and a peer that vanished is found out while idle as well as while sending.
void ConfigureStream(int fd);

// getsockname(2).
SocketAddress LocalAddress(int fd);

}  // namespace rdmafs
