#include "client/connector.h"

#include "absl/strings/str_cat.h"

namespace rdmafs {

Connector::Connector(std::vector<Endpoint> servers, TransportChoice choice, Transport* tcp,
                     Transport* rdma, uint16_t credits, bool tls)
    : servers_(std::move(servers)),
      choice_(choice),
      tcp_(tcp),
      rdma_(rdma),
      credits_(credits),
      tls_(tls) {
  CHECK(!servers_.empty());
}

absl::StatusOr<std::unique_ptr<Connection>> Connector::ConnectFirst(Nanoseconds timeout) {
  const Nanoseconds share = timeout / static_cast<Nanoseconds>(servers_.size());
  absl::Status last;
  for (size_t i = 0; i < servers_.size(); ++i) {
    if (i != 0) Skip();
    bool chosen;
    {
      absl::MutexLock lock(&mutex_);
      chosen = chosen_ != nullptr;
    }
    auto connection = chosen ? ConnectAgain(share) : Choose(server(), share);
    if (connection.ok()) return connection;
    last = connection.status();
  }
  if (servers_.size() > 1) Skip();  // back to where it began
  return last;
}

absl::StatusOr<std::unique_ptr<Connection>> Connector::ConnectAgain(Nanoseconds timeout) {
  // The other way must still fit into the time.
  const bool may_leave = choice_ == TransportChoice::kAuto && chose_rdma();
  auto connection = Connect(may_leave ? timeout / 3 : timeout);
  if (!may_leave) return connection;
  if (connection.ok()) {
    absl::MutexLock lock(&mutex_);
    refusals_ = 0;
    return connection;
  }
  auto other = LeaveRdma(connection.status(), timeout / 3);
  return other.ok() ? std::move(other) : std::move(connection);
}

// A server that starts may be there over TCP before it is over RDMA: not at the first time.
absl::StatusOr<std::unique_ptr<Connection>> Connector::LeaveRdma(const absl::Status& why,
                                                                 Nanoseconds timeout) {
  auto connection = tcp_->Connect(server(), {.credits = credits_, .timeout = timeout});
  if (!connection.ok()) return connection;
  const bool gone = absl::IsNotFound(rdma_->Available());
  absl::MutexLock lock(&mutex_);
  if (!gone && ++refusals_ < kRefusalsToLeave) return why;
  chosen_ = tcp_;
  why_ = absl::StrCat("RDMA cannot be used any more: ", why.message());
  return connection;
}

absl::StatusOr<std::unique_ptr<Connection>> Connector::Connect(Nanoseconds timeout) {
  Transport* chosen;
  Endpoint server;
  {
    absl::MutexLock lock(&mutex_);
    CHECK(chosen_ != nullptr);
    chosen = chosen_;
    server = servers_[current_];
  }
  return chosen->Connect(server, {.credits = credits_, .timeout = timeout});
}

void Connector::Skip() {
  if (servers_.size() == 1) return;
  absl::MutexLock lock(&mutex_);
  current_ = (current_ + 1) % servers_.size();
  chosen_ = nullptr;  // what one address can do says nothing about another
  refusals_ = 0;
}

Endpoint Connector::server() const {
  absl::MutexLock lock(&mutex_);
  return servers_[current_];
}

absl::StatusOr<std::unique_ptr<Connection>> Connector::Choose(const Endpoint& server,
                                                              Nanoseconds timeout) {
  const ConnectionOptions options{.credits = credits_, .timeout = timeout};
  auto settle = [this](Transport* transport, std::string why) {
    absl::MutexLock lock(&mutex_);
    chosen_ = transport;
    why_ = std::move(why);
  };
  if (choice_ == TransportChoice::kTcp || tls_) {
    auto connection = tcp_->Connect(server, options);
    const bool asked = choice_ == TransportChoice::kTcp;
    if (connection.ok())
      settle(tcp_, asked ? "asked for with transport=tcp" : "TLS is spoken over TCP only");
    return connection;
  }
  absl::Status no_rdma =
      rdma_ != nullptr ? rdma_->Available() : absl::UnavailableError("it is not built in");
  if (no_rdma.ok()) {
    ConnectionOptions attempt = options;
    // In auto the way over TCP must still fit into the time.
    if (choice_ == TransportChoice::kAuto) attempt.timeout = timeout / 3;
    auto connection = rdma_->Connect(server, attempt);
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
  auto connection = tcp_->Connect(server, options);
  if (connection.ok()) settle(tcp_, absl::StrCat("RDMA cannot be used: ", no_rdma.message()));
  return connection;
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
