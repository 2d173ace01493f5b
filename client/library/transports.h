// MakeTransports: the transports that a program without a mount reaches its server by.
#pragma once

#include <functional>
#include <memory>

#include "client/connector.h"
#include "transport/connection.h"
#include "transport/tls/tls_context.h"

namespace rdmafs::library {

struct Transports {
  std::unique_ptr<Transport> tcp;   // or what a test has in its place
  std::unique_ptr<Transport> rdma;  // nullptr where it is not wanted
};
// `tls`: what TCP goes through, or nullptr.
using TransportFactory = std::function<Transports(TransportChoice, const TransportResources&,
                                                  std::shared_ptr<const TlsContext> tls)>;

Transports MakeTransports(TransportChoice choice, const TransportResources& resources,
                          std::shared_ptr<const TlsContext> tls);

}  // namespace rdmafs::library
