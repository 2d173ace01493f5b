// RdmaTransport: the transport over librdmacm and libibverbs.
#pragma once

#include <memory>

#include "transport/connection.h"

namespace rdmafs {

namespace rdma {
class AbandonedAttempts;
class ProtectionDomains;
class WindowTrials;
}  // namespace rdma

// Thread-safe. Makes no call to rdma-core before Available(), Connect() or Listen(): a process that
// forks does so before. Must outlive its listeners; connections may outlive it.
class RdmaTransport final : public Transport {
 public:
  explicit RdmaTransport(const TransportResources& resources);
  ~RdmaTransport() override;

  std::string_view name() const override { return "rdma"; }
  absl::Status Available() const override;
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                      const ConnectionOptions& options) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   const ConnectionOptions& options,
                                                   EventLoop& loop, AcceptFunction accept) override;
  MemoryRegionCache::Statistics memory_statistics() const override;
  bool registers_memory() const override { return true; }
  Result<std::vector<MemoryRegionCache::Pin>> PinMemory(absl::Span<std::byte> memory,
                                                        MemoryAccess access) override;
  void ForgetMemory(absl::Span<const std::byte> memory) override;
  void TrimMemory() override;

 private:
  const TransportResources resources_;
  const std::shared_ptr<rdma::ProtectionDomains> domains_;
  const std::shared_ptr<rdma::WindowTrials> trials_;
  const std::unique_ptr<rdma::AbandonedAttempts> abandoned_;
};

}  // namespace rdmafs
