// Connector: which of a server's addresses and which transport to use, and why.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"

namespace rdmafs {

enum class TransportChoice { kAuto, kRdma, kTcp };

// Thread-safe; Connect blocks.
class Connector {
 public:
  // With the pauses between attempts (reconnect_pauses.h) 10 seconds: a server that starts has that
  // long.
  static constexpr int kRefusalsToLeave = 26;

  // `servers`: addresses of one server, or of several that serve the same session and handles; at
  // least one. The transports outlive the connector; `rdma` may be null where it is not built or
  // not wanted. `tls`: `tcp` goes through it, and kAuto is kTcp then.
  Connector(std::vector<Endpoint> servers, TransportChoice choice, Transport* tcp, Transport* rdma,
            uint16_t credits, bool tls = false);

  // The first connection of a session, or of another attempt to get it back: to the address that
  // was used last, or the next one that can be reached. kAuto tries RDMA first and falls back to
  // TCP, once for each address; and leaves RDMA for TCP when this host has no device any more, or
  // when kRefusalsToLeave times in a row only TCP led to the server. The status is the last
  // address's.
  absl::StatusOr<std::unique_ptr<Connection>> ConnectFirst(Nanoseconds timeout);
  // Further ones, to the same address by the same transport.
  absl::StatusOr<std::unique_ptr<Connection>> Connect(Nanoseconds timeout);
  // The address does not serve, though it can be reached: ConnectFirst() begins with the next one.
  void Skip();

  // The one that was used last.
  Endpoint server() const;
  // "rdma" or "tcp" and the reason, for the log and status; empty before a connection was made.
  std::string chosen() const;
  std::string why() const;
  bool tls() const { return tls_; }
  bool chose_rdma() const { return chosen() == "rdma"; }

 private:
  absl::StatusOr<std::unique_ptr<Connection>> Choose(const Endpoint& server, Nanoseconds timeout);
  absl::StatusOr<std::unique_ptr<Connection>> ConnectAgain(Nanoseconds timeout);
  absl::StatusOr<std::unique_ptr<Connection>> LeaveRdma(const absl::Status& why,
                                                        Nanoseconds timeout);

  const std::vector<Endpoint> servers_;
  const TransportChoice choice_;
  Transport* const tcp_;
  Transport* const rdma_;
  const uint16_t credits_;
  const bool tls_;
  mutable absl::Mutex mutex_;
  size_t current_ ABSL_GUARDED_BY(mutex_) = 0;  // in servers_
  Transport* chosen_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int refusals_ ABSL_GUARDED_BY(mutex_) = 0;  // of RDMA in a row, while TCP led to the server
  std::string why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
