// The client's side of making a connection.
#pragma once

#include <memory>
#include <string>

#include "transport/base/socket_address.h"
#include "transport/connection.h"
#include "transport/rdma/abandoned_attempts.h"
#include "transport/rdma/protection_domain.h"
#include "transport/rdma/window_trial.h"

namespace rdmafs::rdma {

struct ConnectWish {
  uint16_t credits = 0;
  MemoryExposure exposure = MemoryExposure::kCache;
  std::string why_cache;  // why it is not kWindow, when that was wished for
};

// With kWindow, FailedPrecondition says why this device or server cannot: the same without it can
// succeed. Blocks until `deadline` at most; what is left of an attempt without an answer goes to
// `abandoned`. Thread-safe.
absl::StatusOr<std::unique_ptr<Connection>> ConnectTo(
    const SocketAddress& address, const ConnectWish& wish, Nanoseconds deadline,
    const TransportResources& resources, const std::shared_ptr<ProtectionDomains>& domains,
    WindowTrials& trials, AbandonedAttempts& abandoned);

}  // namespace rdmafs::rdma
