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
// `tls`: what TCP goes through, or nothing.
using TransportFactory = std::function<Transports(TransportChoice, const TransportResources&,
                                                  TlsSource tls)>;

Transports MakeTransports(TransportChoice choice, const TransportResources& resources,
                          TlsSource tls);

}  // namespace rdmafs::library
