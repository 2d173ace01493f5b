#include "transport/rdma/protection_domain.h"

#include "absl/strings/str_cat.h"
#include "transport/rdma/memlock.h"

namespace rdmafs::rdma {
namespace {

// Under a window the window has the remote rights; a peer's write then needs the local one (IBA,
// C10-74).
int AccessFlags(MemoryAccess access, MemoryExposure exposure) {
  if (exposure == MemoryExposure::kWindow && access != MemoryAccess::kLocal) {
    return IBV_ACCESS_MW_BIND | (access == MemoryAccess::kRemoteWrite ? IBV_ACCESS_LOCAL_WRITE : 0);
  }
  switch (access) {
    case MemoryAccess::kLocal:
      return IBV_ACCESS_LOCAL_WRITE;
    case MemoryAccess::kRemoteRead:
      return IBV_ACCESS_REMOTE_READ;
    case MemoryAccess::kRemoteWrite:
      return IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  }
  return 0;
}

void Add(MemoryRegionCache::Statistics& sum, const MemoryRegionCache::Statistics& other) {
  sum.lookup_count += other.lookup_count;
  sum.hit_count += other.hit_count;
  sum.registration_count += other.registration_count;
  sum.owned_registration_count += other.owned_registration_count;
  sum.deregistration_count += other.deregistration_count;
  sum.foreign_count += other.foreign_count;
  sum.foreign_bytes += other.foreign_bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProtectionDomain>> ProtectionDomain::Create(
    std::shared_ptr<ibv_context> device, Arena& arena, const Clock& clock,
    MemoryExposure exposure) {
  const std::string name = ibv_get_device_name(device->device);
  std::unique_ptr<ProtectionDomain> domain(new ProtectionDomain(std::move(device), exposure));
  if (domain->domain_ == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name, ": no protection domain: ", Errno(errno).ToString()));
  }
  domain->cache_ = std::make_unique<MemoryRegionCache>(*domain, arena, clock);
  const Errno error = domain->cache_->owned_error();
  if (!error.ok()) {
    return absl::ResourceExhaustedError(absl::StrCat(name, ": cannot register ", arena.size_bytes(),
                                                     " bytes of memory: ", error.ToString(), ". ",
                                                     MemlockAdvice(arena.size_bytes())));
  }
  return domain;
}

ProtectionDomain::ProtectionDomain(std::shared_ptr<ibv_context> device, MemoryExposure exposure)
    : device_(std::move(device)),
      iwarp_(device_->device->transport_type == IBV_TRANSPORT_IWARP),
      exposure_(exposure),
      domain_(ibv_alloc_pd(device_.get())) {}

ProtectionDomain::~ProtectionDomain() { cache_.reset(); }

Result<MemoryRegistrar::Registration> ProtectionDomain::Register(absl::Span<std::byte> memory,
                                                                 MemoryAccess access) {
  ibv_mr* region =
      ibv_reg_mr(domain_.get(), memory.data(), memory.size(), AccessFlags(access, exposure_));
  if (region == nullptr) return Errno(errno != 0 ? errno : ENOMEM);
  return Registration{{region->lkey, region->rkey, region}};
}

void ProtectionDomain::Deregister(const Registration& registration) {
  ibv_dereg_mr(static_cast<ibv_mr*>(registration.keys.region));
}

absl::StatusOr<std::shared_ptr<ProtectionDomain>> ProtectionDomains::ForConnection(
    ibv_context* device, MemoryExposure exposure) {
  // Held while memory is registered: connections made at the same time shall share the one domain.
  absl::MutexLock lock(&mutex_);
  auto found = by_device_.find({device, exposure});
  if (found != by_device_.end()) return found->second.domain;
  std::shared_ptr<ibv_context> use = devices_->Use(*device);
  if (use == nullptr) return absl::UnavailableError("the RDMA device is being removed");
  auto made = ProtectionDomain::Create(std::move(use), arena_, clock_, exposure);
  if (!made.ok()) return made.status();
  std::shared_ptr<ProtectionDomain> domain = Share(*std::move(made));
  std::erase_if(all_, [](const auto& weak) { return weak.expired(); });
  all_.push_back(domain);
  if (!domain->iwarp()) {
    const int watch_id =
        devices_->watch().Add(device->cmd_fd, [this, device, exposure] { Drop(device, exposure); });
    by_device_[{device, exposure}] = {domain, watch_id};
  }
  return domain;
}

ProtectionDomains::~ProtectionDomains() {
  std::vector<int> watch_ids;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, shared] : by_device_) watch_ids.push_back(shared.watch_id);
  }
  for (const int id : watch_ids) devices_->watch().Remove(id);
}

void ProtectionDomains::Forget(ibv_context* device) {
  Drop(device, MemoryExposure::kCache);
  Drop(device, MemoryExposure::kWindow);
  devices_->Forget(device);
}

void ProtectionDomains::Drop(ibv_context* device, MemoryExposure exposure) {
  std::shared_ptr<ProtectionDomain> dropped;  // after the lock
  absl::MutexLock lock(&mutex_);
  auto found = by_device_.find({device, exposure});
  if (found == by_device_.end()) return;
  devices_->watch().Cancel(found->second.watch_id);
  dropped = std::move(found->second.domain);
  by_device_.erase(found);
}

// With its last user gone a domain leaves its counts behind.
std::shared_ptr<ProtectionDomain> ProtectionDomains::Share(
    std::unique_ptr<ProtectionDomain> domain) {
  return {domain.release(), [ledger = ledger_](ProtectionDomain* last) {
            MemoryRegionCache::Statistics counts = last->cache().statistics();
            delete last;
            counts.deregistration_count = counts.registration_count;
            counts.foreign_count = counts.foreign_bytes = 0;
            absl::MutexLock lock(&ledger->mutex);
            Add(ledger->retired, counts);
          }};
}

std::vector<std::shared_ptr<ProtectionDomain>> ProtectionDomains::All() const {
  std::vector<std::shared_ptr<ProtectionDomain>> domains;
  absl::MutexLock lock(&mutex_);
  for (const auto& weak : all_) {
    if (auto domain = weak.lock()) domains.push_back(std::move(domain));
  }
  return domains;
}

MemoryRegionCache::Statistics ProtectionDomains::statistics() const {
  const std::vector<std::shared_ptr<ProtectionDomain>> domains = All();
  MemoryRegionCache::Statistics sum;
  {
    absl::MutexLock lock(&ledger_->mutex);
    sum = ledger_->retired;
  }
  for (const auto& domain : domains) Add(sum, domain->cache().statistics());
  return sum;
}

}  // namespace rdmafs::rdma
