// Listeners: opens what the configuration asks for, and says in one line for each what is served.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/options.h"
#include "transport/connection.h"

namespace rdmafs::server {

struct OpenListeners {
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::string> addresses;  // "tcp 0.0.0.0:20490", in the same order
  std::string not_rdma;                // why RDMA is not served, "" when it is
};

// `tcp` is needed unless the configuration says rdma, `rdma` when it does. `accept` is called on
// `loop`'s thread. With port 0 the first listener takes any free port and the others take the same.
absl::StatusOr<OpenListeners> Listen(const ServerConfiguration& configuration, Transport& tcp,
                                     Transport& rdma, EventLoop& loop,
                                     const Transport::AcceptFunction& accept);

}  // namespace rdmafs::server
