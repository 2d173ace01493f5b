#include "transport/rdma/rdma_transport.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/base/socket_address.h"
#include "transport/rdma/abandoned_attempts.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/connector.h"
#include "transport/rdma/memlock.h"
#include "transport/rdma/protection_domain.h"
#include "transport/rdma/rdma_devices.h"
#include "transport/rdma/rdma_listener.h"
#include "transport/rdma/window_trial.h"

namespace rdmafs {
namespace {

absl::Status CheckOptions(const ConnectionOptions& options) {
  if (options.credits >= 1 && options.credits <= wire::kMaxCredits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("credits must be 1 to ", wire::kMaxCredits));
}

}  // namespace

RdmaTransport::RdmaTransport(const TransportResources& resources)
    : resources_(resources),
      domains_(std::make_shared<rdma::ProtectionDomains>(resources.arena, resources.clock)),
      trials_(std::make_shared<rdma::WindowTrials>(resources.clock)),
      abandoned_(std::make_unique<rdma::AbandonedAttempts>()) {}

RdmaTransport::~RdmaTransport() = default;

absl::Status RdmaTransport::Available() const {
  const std::vector<RdmaDevice> devices = ListRdmaDevices();
  if (devices.empty()) return absl::NotFoundError("no RDMA device");
  auto usable =
      std::find_if(devices.begin(), devices.end(), [](const auto& d) { return d.fault.empty(); });
  if (usable == devices.end()) {
    return absl::UnavailableError(absl::StrCat(devices.front().name, ": ", devices.front().fault));
  }
  rdma::EventChannelPtr channel;
  absl::Status status = rdma::OpenEventChannel(channel);
  if (!status.ok()) return status;
  const size_t arena_bytes =
      std::max(resources_.arena.size_bytes(), resources_.messages.options().cap_bytes);
  if (!rdma::MemlockSuffices(arena_bytes)) {
    return absl::ResourceExhaustedError(rdma::MemlockAdvice(arena_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Connection>> RdmaTransport::Connect(
    const Endpoint& peer, const ConnectionOptions& options) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  const Nanoseconds deadline = resources_.clock.Now() + options.timeout;
  auto addresses = SocketAddress::Resolve(peer.host, peer.port, options.timeout);
  if (!addresses.ok()) return addresses.status();
  status = absl::NotFoundError(absl::StrCat(peer.host, " has no address"));
  for (const SocketAddress& address : *addresses) {
    auto connect = [&](const rdma::ConnectWish& wish) {
      return rdma::ConnectTo(address, wish, deadline, resources_, domains_, *trials_, *abandoned_);
    };
    auto connection = connect({.credits = options.credits, .exposure = resources_.exposure});
    if (absl::IsFailedPrecondition(connection.status())) {
      connection = connect({.credits = options.credits,
                            .exposure = MemoryExposure::kCache,
                            .why_cache = std::string(connection.status().message())});
    }
    if (connection.ok()) return connection;
    status = connection.status();
  }
  return status;
}

absl::StatusOr<std::unique_ptr<Listener>> RdmaTransport::Listen(const Endpoint& endpoint,
                                                                const ConnectionOptions& options,
                                                                EventLoop& loop,
                                                                AcceptFunction accept) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  return rdma::RdmaListener::Create(endpoint, options, loop, std::move(accept), resources_,
                                    domains_, trials_);
}

MemoryRegionCache::Statistics RdmaTransport::memory_statistics() const {
  return domains_->statistics();
}

Result<std::vector<MemoryRegionCache::Pin>> RdmaTransport::PinMemory(absl::Span<std::byte> memory,
                                                                     MemoryAccess access) {
  std::vector<MemoryRegionCache::Pin> pins;
  for (const auto& domain : domains_->All()) {
    auto pin = domain->cache().LookupForeign(memory, access);
    if (!pin.ok()) return pin.error();
    pins.push_back(*std::move(pin));
  }
  return pins;
}

void RdmaTransport::ForgetMemory(absl::Span<const std::byte> memory) {
  for (const auto& domain : domains_->All()) domain->cache().Invalidate(memory);
}

void RdmaTransport::TrimMemory() {
  for (const auto& domain : domains_->All()) domain->cache().Trim();
}

}  // namespace rdmafs
