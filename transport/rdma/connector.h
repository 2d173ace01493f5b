// The client's side of making a connection.
#pragma once

#include <memory>

#include "transport/base/socket_address.h"
#include "transport/connection.h"
#include "transport/rdma/abandoned_attempts.h"
#include "transport/rdma/protection_domain.h"

namespace rdmafs::rdma {

// Blocks until `deadline` at most; what is left of an attempt without an answer goes to
// `abandoned`. Thread-safe.
absl::StatusOr<std::unique_ptr<Connection>> ConnectTo(
    const SocketAddress& address, uint16_t credits, Nanoseconds deadline,
    const TransportResources& resources, const std::shared_ptr<ProtectionDomains>& domains,
    AbandonedAttempts& abandoned);

}  // namespace rdmafs::rdma
