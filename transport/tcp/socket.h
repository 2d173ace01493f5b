// Stream sockets: connecting and listening with a deadline, and their options.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "transport/base/clock.h"
#include "transport/base/socket_address.h"
#include "transport/base/unique_fd.h"
#include "transport/connection.h"

namespace rdmafs {

// A connected, non-blocking socket with ConfigureStream() done. The addresses of a name are tried
// in turn, each with its share of the time that is left.
absl::StatusOr<UniqueFd> ConnectStream(const Endpoint& peer, const Clock& clock,
                                       Nanoseconds deadline, SocketAddress& connected_to);

// A listening, non-blocking socket. An empty host is all addresses, of IPv6 and IPv4.
absl::StatusOr<UniqueFd> ListenStream(const Endpoint& endpoint, Nanoseconds timeout);

// No Nagle delay, and a peer that vanished is found out while idle as well as while sending.
void ConfigureStream(int fd);

// Whether a connected socket's peer is on this host: by its address.
bool StaysOnThisHost(int fd);

// getsockname(2).
SocketAddress LocalAddress(int fd);

}  // namespace rdmafs
