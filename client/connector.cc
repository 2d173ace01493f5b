#include "client/connector.h"

#include "absl/strings/str_cat.h"

namespace rdmafs {

Connector::Connector(Endpoint server, TransportChoice choice, Transport* tcp, Transport* rdma,
                     uint16_t credits)
    : server_(std::move(server)), choice_(choice), tcp_(tcp), rdma_(rdma), credits_(credits) {}

absl::StatusOr<std::unique_ptr<Connection>> Connector::Connect(Nanoseconds timeout) {
  Transport* chosen;
  {
    absl::MutexLock lock(&mutex_);
    chosen = chosen_;
  }
  if (chosen == nullptr) return Choose(timeout);
  return chosen->Connect(server_, {.credits = credits_, .timeout = timeout});
}

absl::StatusOr<std::unique_ptr<Connection>> Connector::Choose(Nanoseconds timeout) {
  const ConnectionOptions options{.credits = credits_, .timeout = timeout};
  auto settle = [this](Transport* transport, std::string why) {
    absl::MutexLock lock(&mutex_);
    chosen_ = transport;
    why_ = std::move(why);
  };
  if (choice_ == TransportChoice::kTcp) {
    auto connection = tcp_->Connect(server_, options);
    if (connection.ok()) settle(tcp_, "asked for with transport=tcp");
    return connection;
  }
  absl::Status no_rdma = rdma_ != nullptr ? rdma_->Available() : absl::UnavailableError("it is not built in");
  if (no_rdma.ok()) {
    ConnectionOptions attempt = options;
    // In auto the way over TCP must still fit into the time.
    if (choice_ == TransportChoice::kAuto) attempt.timeout = timeout / 3;
    auto connection = rdma_->Connect(server_, attempt);
    if (connection.ok()) {
      settle(rdma_, choice_ == TransportChoice::kRdma ? "asked for with transport=rdma"
                                                      : "both ends have an RDMA device");
      return connection;
    }
    no_rdma = connection.status();
  }
  if (choice_ == TransportChoice::kRdma) {
    return absl::Status(no_rdma.code(), absl::StrCat("RDMA cannot be used: ", no_rdma.message()));
  }
  auto connection = tcp_->Connect(server_, options);
  if (connection.ok()) settle(tcp_, absl::StrCat("RDMA cannot be used: ", no_rdma.message()));
  return connection;
}

void Connector::Reset() {
  absl::MutexLock lock(&mutex_);
  chosen_ = nullptr;
}

std::string Connector::chosen() const {
  absl::MutexLock lock(&mutex_);
  return chosen_ == nullptr ? "" : std::string(chosen_->name());
}

std::string Connector::why() const {
  absl::MutexLock lock(&mutex_);
  return why_;
}

}  // namespace rdmafs
