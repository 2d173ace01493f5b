#include "transport/tcp/tcp_transport.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/tcp_connection.h"
#include "transport/tcp/tcp_listener.h"

namespace rdmafs {

absl::StatusOr<std::unique_ptr<Connection>> TcpTransport::Connect(const Endpoint& peer,
                                                                  const ConnectionOptions& options) {
  const Nanoseconds deadline = resources_.clock.Now() + options.timeout;
  std::string address;
  auto socket = ConnectStream(peer, resources_.clock, deadline, address);
  if (!socket.ok()) return socket.status();
  return std::make_unique<TcpConnection>(*std::move(socket), TcpConnection::Role::kClient,
                                         std::move(address), pool_);
}

absl::StatusOr<std::unique_ptr<Listener>> TcpTransport::Listen(const Endpoint& endpoint,
                                                               const ConnectionOptions& options,
                                                               EventLoop& loop, AcceptFunction accept) {
  const Nanoseconds deadline = resources_.clock.Now() + options.timeout;
  auto socket = ListenStream(endpoint, resources_.clock, deadline);
  if (!socket.ok()) return socket.status();
  auto listener =
      std::make_unique<TcpListener>(*std::move(socket), loop, std::move(accept), pool_);
  if (Errno error = listener->Start(); !error.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot watch the socket of ", listener->address(), ": ", error.ToString()));
  }
  return listener;
}

}  // namespace rdmafs
