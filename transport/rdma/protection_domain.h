// ProtectionDomain: an ibv_pd with the registrations of the arena's slabs; ProtectionDomains: all
// of them.
#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"
#include "transport/memory/memory_region_cache.h"
#include "transport/rdma/open_devices.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

// Thread-safe.
class ProtectionDomain final : public MemoryRegistrar {
 public:
  // `device`: the caller's use of it, which becomes the domain's.
  static absl::StatusOr<std::unique_ptr<ProtectionDomain>> Create(
      std::shared_ptr<ibv_context> device, Arena& arena, const Clock& clock,
      MemoryExposure exposure);
  ~ProtectionDomain() override;

  ibv_pd* get() const { return domain_.get(); }
  MemoryRegionCache& cache() { return *cache_; }
  bool iwarp() const { return iwarp_; }
  // With which access the destination of an RDMA_READ must be registered: iWARP's reads are
  // answered by a write to the requester's STag (RFC 5040, 5.2), so that there it is a remote
  // write.
  MemoryAccess read_sink_access() const {
    return iwarp_ ? MemoryAccess::kRemoteWrite : MemoryAccess::kLocal;
  }

  Result<Registration> Register(absl::Span<std::byte> memory, MemoryAccess access) override;
  void Deregister(const Registration& registration) override;

 private:
  ProtectionDomain(std::shared_ptr<ibv_context> device, MemoryExposure exposure);

  const std::shared_ptr<ibv_context> device_;
  const bool iwarp_;
  const MemoryExposure exposure_;
  DomainPtr domain_;
  std::unique_ptr<MemoryRegionCache> cache_;
};

// Hands out domains: on InfiniBand and RoCE one per device and exposure, shared by all its
// connections until the device is removed; on iWARP one for each connection, because a read's sink
// is open to remote writes there, and what a peer learnt of one connection must be of no use on
// another. Thread-safe.
class ProtectionDomains {
 public:
  ProtectionDomains(Arena& arena, const Clock& clock) : arena_(arena), clock_(clock) {}
  ~ProtectionDomains();

  // With kWindow no registration lets a peer in by itself.
  absl::StatusOr<std::shared_ptr<ProtectionDomain>> ForConnection(ibv_context* device,
                                                                  MemoryExposure exposure);
  // The device is gone: connections in being keep their domain until they end, and there are no new
  // ones.
  void Forget(ibv_context* device);
  // Connections in being keep their domain, new ones get another.
  void Drop(ibv_context* device, MemoryExposure exposure);
  // Those in being.
  std::vector<std::shared_ptr<ProtectionDomain>> All() const;
  // Those that domains are, or may be, made of.
  OpenDevices& devices() { return *devices_; }
  // Of all domains that there are and were.
  MemoryRegionCache::Statistics statistics() const;

 private:
  struct Shared {
    std::shared_ptr<ProtectionDomain> domain;
    int watch_id = 0;  // for the device's removal
  };
  // Outlives this, as a domain's last user may.
  struct Ledger {
    absl::Mutex mutex;
    MemoryRegionCache::Statistics retired ABSL_GUARDED_BY(mutex){};  // of domains that were
  };
  std::shared_ptr<ProtectionDomain> Share(std::unique_ptr<ProtectionDomain> domain);

  Arena& arena_;
  const Clock& clock_;
  const std::shared_ptr<OpenDevices> devices_ = OpenDevices::OfProcess();
  const std::shared_ptr<Ledger> ledger_ = std::make_shared<Ledger>();
  mutable absl::Mutex mutex_;
  std::map<std::pair<ibv_context*, MemoryExposure>, Shared> by_device_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<ProtectionDomain>> all_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::rdma
