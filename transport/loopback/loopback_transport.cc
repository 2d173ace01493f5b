#include "transport/loopback/loopback_transport.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

constexpr uint16_t kFirstFreePort = 49152;  // where RFC 6335 has the dynamic ports

}  // namespace

// Takes the port away again.
class LoopbackHub::PortListener final : public Listener {
 public:
  PortListener(std::shared_ptr<LoopbackHub> hub, std::shared_ptr<Listening> listening,
               uint16_t port)
      : hub_(std::move(hub)), listening_(std::move(listening)), port_(port) {}
  ~PortListener() override {
    listening_->open = false;
    absl::MutexLock lock(&hub_->mutex_);
    hub_->listening_.erase(port_);
  }

  std::string address() const override { return absl::StrCat("loopback:", port_); }
  uint16_t port() const override { return port_; }

 private:
  const std::shared_ptr<LoopbackHub> hub_;
  const std::shared_ptr<Listening> listening_;
  const uint16_t port_;
};

absl::StatusOr<std::unique_ptr<Connection>> LoopbackTransport::Connect(
    const Endpoint& peer, const ConnectionOptions& options) {
  // The listener's loop is posted to under the lock: it stands as long as the listener is in the
  // map.
  absl::MutexLock lock(&hub_->mutex_);
  auto found = hub_->listening_.find(peer.port);
  if (found == hub_->listening_.end()) {
    return absl::UnavailableError(absl::StrCat("nobody listens on loopback:", peer.port));
  }
  std::shared_ptr<LoopbackHub::Listening> listening = found->second;
  const uint16_t credits = std::min(options.credits, listening->credits);
  auto link = std::make_shared<LoopbackLink>(credits, static_cast<uint32_t>(hub_->random_()));
  auto client = std::make_unique<LoopbackConnection>(
      link, LoopbackLink::kClient, absl::StrCat("loopback:", peer.port), credits, memory_,
      exposure_);
  auto server = std::make_unique<LoopbackConnection>(link, LoopbackLink::kServer, "loopback:client",
                                                     credits, listening->memory, exposure_);
  EventLoop& loop = listening->loop;
  loop.Post([listening = std::move(listening), server = std::move(server)]() mutable {
    // A listener that closed meanwhile lets the connection go, which its peer notices.
    if (listening->open) listening->accept(std::move(server));
  });
  return client;
}

absl::StatusOr<std::unique_ptr<Listener>> LoopbackTransport::Listen(
    const Endpoint& endpoint, const ConnectionOptions& options, EventLoop& loop,
    AcceptFunction accept) {
  auto listening = std::shared_ptr<LoopbackHub::Listening>(
      new LoopbackHub::Listening{loop, std::move(accept), options.credits, memory_});
  absl::MutexLock lock(&hub_->mutex_);
  uint16_t port = endpoint.port;
  if (port == 0) {
    port = kFirstFreePort;
    while (port != 0 && hub_->listening_.contains(port)) ++port;
    if (port == 0) return absl::ResourceExhaustedError("no free port on loopback");
  } else if (hub_->listening_.contains(port)) {
    return absl::AlreadyExistsError(absl::StrCat("loopback:", port, " is in use"));
  }
  hub_->listening_[port] = listening;
  return std::make_unique<LoopbackHub::PortListener>(hub_, std::move(listening), port);
}

}  // namespace rdmafs
