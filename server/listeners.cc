#include "server/listeners.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace rdmafs::server {
namespace {

std::string AddressText(const Transport& transport, const Listener& listener) {
  const std::string port = absl::StrCat(":", listener.port());
  const std::string address = listener.address();
  const bool with_port = absl::EndsWith(address, port);  // as far as each transport says it
  return absl::StrCat(std::string(transport.name()), " ", address, with_port ? "" : port);
}

class Opening {
 public:
  Opening(const ServerConfiguration& configuration, EventLoop& loop,
          const Transport::AcceptFunction& accept)
      : configuration_(configuration), loop_(loop), accept_(accept), port_(configuration.port) {}

  absl::Status Open(Transport& transport) {
    if (absl::Status available = transport.Available(); !available.ok()) return available;
    OpenListeners opened;
    std::vector<std::string> hosts = configuration_.listen;
    if (hosts.empty()) hosts.emplace_back();
    for (const std::string& host : hosts) {
      auto listener = transport.Listen({host, port_}, ConnectionOptions{}, loop_, accept_);
      if (!listener.ok()) return listener.status();
      port_ = (*listener)->port();
      opened.addresses.push_back(AddressText(transport, **listener));
      opened.listeners.push_back(std::move(*listener));
    }
    for (size_t i = 0; i < opened.listeners.size(); ++i) {
      done_.addresses.push_back(std::move(opened.addresses[i]));
      done_.listeners.push_back(std::move(opened.listeners[i]));
    }
    return absl::OkStatus();
  }

  OpenListeners done_;

 private:
  const ServerConfiguration& configuration_;
  EventLoop& loop_;
  const Transport::AcceptFunction& accept_;
  uint16_t port_;
};

}  // namespace

absl::StatusOr<OpenListeners> Listen(const ServerConfiguration& configuration, Transport& tcp,
                                     Transport& rdma, EventLoop& loop,
                                     const Transport::AcceptFunction& accept) {
  Opening opening(configuration, loop, accept);
  if (configuration.transport != TransportChoice::kRdma) {
    if (absl::Status status = opening.Open(tcp); !status.ok()) return status;
  }
  if (configuration.transport == TransportChoice::kTcp) {
    opening.done_.not_rdma = "transport=tcp";
    return std::move(opening.done_);
  }
  if (configuration.tls == TlsChoice::kRequired) {
    opening.done_.not_rdma = "tls=required";
    return std::move(opening.done_);
  }
  absl::Status status = opening.Open(rdma);
  if (!status.ok() && configuration.transport == TransportChoice::kRdma) return status;
  opening.done_.not_rdma = std::string(status.message());
  return std::move(opening.done_);
}

}  // namespace rdmafs::server
