#include "client/library/transports.h"

#include "transport/rdma/rdma_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::library {

Transports MakeTransports(TransportChoice choice, const TransportResources& resources,
                          TlsSource tls) {
  const bool tcp_only = choice == TransportChoice::kTcp || tls != nullptr;
  Transports transports{std::make_unique<TcpTransport>(resources, std::move(tls)), nullptr};
  if (!tcp_only) transports.rdma = std::make_unique<RdmaTransport>(resources);
  return transports;
}

}  // namespace rdmafs::library
