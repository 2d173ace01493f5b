#include "client/library/transports.h"

#include "transport/rdma/rdma_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::library {

Transports MakeTransports(TransportChoice choice, const TransportResources& resources) {
  Transports transports{std::make_unique<TcpTransport>(resources), nullptr};
  if (choice != TransportChoice::kTcp) transports.rdma = std::make_unique<RdmaTransport>(resources);
  return transports;
}

}  // namespace rdmafs::library
