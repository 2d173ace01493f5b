// Connector: which transport to use to a server, and why.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"

namespace rdmafs {

enum class TransportChoice { kAuto, kRdma, kTcp };

// Thread-safe; Connect blocks.
class Connector {
 public:
  // The transports outlive the connector; `rdma` may be null where it is not built or not wanted.
  Connector(Endpoint server, TransportChoice choice, Transport* tcp, Transport* rdma, uint16_t credits);

  // A connection to the server. kAuto tries RDMA first and falls back to TCP, the first time; later
  // connections of the session use what the first one used. Reset() makes it choose anew.
  absl::StatusOr<std::unique_ptr<Connection>> Connect(Nanoseconds timeout);
  void Reset();

  const Endpoint& server() const { return server_; }
  // "rdma" or "tcp" and the reason, for the log and status; empty before a connection was made.
  std::string chosen() const;
  std::string why() const;
  bool chose_rdma() const { return chosen() == "rdma"; }

 private:
  absl::StatusOr<std::unique_ptr<Connection>> Choose(Nanoseconds timeout);

  const Endpoint server_;
  const TransportChoice choice_;
  Transport* const tcp_;
  Transport* const rdma_;
  const uint16_t credits_;
  mutable absl::Mutex mutex_;
  Transport* chosen_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::string why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
