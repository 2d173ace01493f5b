// TcpTransport: the transport seam over stream sockets.
#pragma once

#include <memory>

#include "transport/connection.h"
#include "transport/tcp/staging.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {

// Thread-safe. Registers no memory, so any memory can be exposed, and takes no buffers for messages
// from the resources: what arrives is read into staging blocks that a connection has only while it
// needs them.
class TcpTransport final : public Transport {
 public:
  // With `tls` of a client its connections go through TLS, all of them; with that of a server,
  // those whose client begins it, and their owner looks at Connection::security().
  explicit TcpTransport(TransportResources resources, TlsSource tls = nullptr)
      : resources_(resources), tls_(std::move(tls)), pool_(std::make_shared<StagingPool>()) {}

  std::string_view name() const override { return "tcp"; }
  absl::Status Available() const override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                      const ConnectionOptions& options) override;
  // `loop` must not run yet, or the caller is on its thread.
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   const ConnectionOptions& options,
                                                   EventLoop& loop, AcceptFunction accept) override;
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }

 private:
  const TransportResources resources_;
  const TlsSource tls_;
  const std::shared_ptr<StagingPool> pool_;  // connections may outlive the transport
};

}  // namespace rdmafs
