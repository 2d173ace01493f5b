// MemoryTransport: a transport for memory alone; it leads nowhere.
#pragma once

#include "transport/connection.h"

namespace rdmafs::library {

class MemoryTransport : public Transport {
 public:
  std::string_view name() const final { return "memory"; }
  absl::Status Available() const final { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint&,
                                                      const ConnectionOptions&) final {
    return absl::UnavailableError("it leads nowhere");
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint&, const ConnectionOptions&,
                                                   EventLoop&, AcceptFunction) final {
    return absl::UnavailableError("it leads nowhere");
  }
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }
};

}  // namespace rdmafs::library
