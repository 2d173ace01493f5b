// AbandonedAttempts: destroys connections that were given up half-made, without making anyone wait.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/rdma/queue_pair.h"

namespace rdmafs::rdma {

// Destroying an iWARP QP or cm_id whose connect has no answer yet blocks until the kernel gives
// that up (10 s with Soft-iWARP), which would make a deadline meaningless. Thread-safe.
class AbandonedAttempts {
 public:
  struct Attempt {
    EventChannelPtr channel;
    CmIdPtr id;
    std::unique_ptr<QueuePair> queue_pair;  // destroyed first
    void Destroy() {
      queue_pair.reset();
      id.reset();
      channel.reset();
    }
  };

  AbandonedAttempts() = default;
  // Waits for all.
  ~AbandonedAttempts();

  // Destroys `attempt` on a thread of its own; here, when there are kMaxThreads already.
  void Add(Attempt attempt);

 private:
  static constexpr size_t kMaxThreads = 8;
  struct Burial {
    std::atomic<bool> done{false};
    std::thread thread;
  };

  absl::Mutex mutex_;
  std::list<Burial> burials_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::rdma
