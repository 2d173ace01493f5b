#include "transport/tcp/tcp_transport.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/tcp_connection.h"
#include "transport/tcp/tcp_listener.h"
#include "transport/tcp/tls_stream.h"

namespace rdmafs {

absl::StatusOr<std::unique_ptr<Connection>> TcpTransport::Connect(
    const Endpoint& peer, const ConnectionOptions& options) {
  const Nanoseconds deadline = resources_.clock.Now() + options.timeout;
  SocketAddress address;
  auto socket = ConnectStream(peer, resources_.clock, deadline, address);
  if (!socket.ok()) return socket.status();
  std::unique_ptr<ByteStream> stream;
  if (tls_ != nullptr) {
    auto session = tls_()->NewSession(peer.host);
    if (!session.ok()) return session.status();
    stream = std::make_unique<TlsStream>(socket->get(), *std::move(session), pool_);
  }
  Arena* const lender = resources_.lends_pages ? &resources_.arena : nullptr;
  return std::make_unique<TcpConnection>(*std::move(socket), TcpConnection::Role::kClient,
                                         address.ToString(), options.credits, pool_,
                                         std::move(stream), lender);
}

absl::StatusOr<std::unique_ptr<Listener>> TcpTransport::Listen(const Endpoint& endpoint,
                                                               const ConnectionOptions& options,
                                                               EventLoop& loop,
                                                               AcceptFunction accept) {
  auto socket = ListenStream(endpoint, options.timeout);
  if (!socket.ok()) return socket.status();
  auto listener = std::make_unique<TcpListener>(*std::move(socket), loop, std::move(accept),
                                                options.credits, pool_, tls_);
  if (Errno error = listener->Start(); !error.ok()) {
    return absl::UnavailableError(
        absl::StrCat("cannot watch the socket of ", listener->address(), ": ", error.ToString()));
  }
  return listener;
}

}  // namespace rdmafs
