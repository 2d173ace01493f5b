// LoopbackTransport: the transport seam within one process, with the rules of verbs, for tests.
#pragma once

#include <map>
#include <memory>
#include <random>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"
#include "transport/loopback/loopback_connection.h"

namespace rdmafs {

// Where listeners are found by their port: the network that some transports share. Thread-safe.
class LoopbackHub {
 public:
  // `seed`: of the rkeys.
  explicit LoopbackHub(uint32_t seed = std::random_device()()) : random_(seed) {}

 private:
  friend class LoopbackTransport;
  class PortListener;
  // Shared with connections on their way to the listener's loop.
  struct Listening {
    EventLoop& loop;
    Transport::AcceptFunction accept;
    uint16_t credits;
    std::shared_ptr<const LoopbackMemory> memory;
    bool open = true;  // loop thread only
  };

  absl::Mutex mutex_;
  std::map<uint16_t, std::shared_ptr<Listening>> listening_ ABSL_GUARDED_BY(mutex_);
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe. Memory counts as registered when it is the resources' arena's: whatever else is sent
// from or exposed without keys is EFAULT.
class LoopbackTransport final : public Transport {
 public:
  LoopbackTransport(std::shared_ptr<LoopbackHub> hub, TransportResources resources)
      : hub_(std::move(hub)),
        memory_(std::make_shared<LoopbackMemory>(resources.arena)),
        exposure_(resources.exposure) {}

  std::string_view name() const override { return "loopback"; }
  absl::Status Available() const override { return absl::OkStatus(); }
  // The host of an endpoint is not looked at. Never blocks.
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                      const ConnectionOptions& options) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   const ConnectionOptions& options,
                                                   EventLoop& loop, AcceptFunction accept) override;
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }

 private:
  const std::shared_ptr<LoopbackHub> hub_;
  const std::shared_ptr<const LoopbackMemory> memory_;
  const MemoryExposure exposure_;
};

}  // namespace rdmafs
