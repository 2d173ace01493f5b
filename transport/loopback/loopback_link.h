// LoopbackLink: what is between the two ends of a loopback connection, with the rules of verbs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "transport/base/event_loop.h"
#include "transport/wire/header.h"

namespace rdmafs {

class LoopbackConnection;

// Thread-safe: its two ends may be on two threads. An end has a receive queue of fixed length;
// memory is reached by rkey only, within the range and the direction that the rkey was made for.
class LoopbackLink : public std::enable_shared_from_this<LoopbackLink> {
 public:
  enum Side { kClient = 0, kServer = 1 };
  static constexpr Side Other(Side side) { return side == kClient ? kServer : kClient; }

  // A message in a receive buffer of its own, so that a sanitizer sees a view that outlives it.
  struct Received {
    wire::MessageHeader header;
    std::vector<std::byte> tail;
    uint32_t invalidated = 0;  // the rkey that was invalidated with it, or 0
  };
  // What became of a work request. kGone: the other side is detached, and its reason is to be had.
  // kNoSuchRkey: what was to be invalidated is not exposed.
  enum class Outcome { kDone, kRefused, kNoSuchRkey, kGone };
  struct Exposed {
    uint64_t address;
    uint32_t rkey;
  };

  LoopbackLink(uint16_t credits, uint32_t seed);

  // From now on `connection` is woken on `loop` when something arrives for it, and right away.
  void Attach(Side side, EventLoop& loop, LoopbackConnection& connection);
  // Nothing of this side is touched any more; the other side hears `others_reason`, unless it has
  // heard of an end before.
  void Detach(Side side, absl::Status others_reason);

  // SEND, or SEND with invalidate. kRefused when the receiver has no buffer for it (RNR).
  Outcome Send(Side to, Received message);
  // What arrived, in order; and why nothing more will, or OK.
  std::vector<std::unique_ptr<Received>> TakeArrived(Side side, absl::Status& end);
  // Posts a receive again.
  void ReturnReceive(Side side);

  // The client's memory. `writable`: for RDMA_WRITE, else for RDMA_READ.
  Exposed Expose(absl::Span<std::byte> memory, bool writable);
  void Withdraw(uint32_t rkey);
  // RDMA_WRITE and RDMA_READ. kRefused when the rkey does not allow it; nothing is moved then.
  Outcome Write(uint64_t address, uint32_t rkey, absl::Span<const std::byte> data);
  Outcome Read(uint64_t address, uint32_t rkey, absl::Span<std::byte> destination);

 private:
  struct End {
    EventLoop* loop = nullptr;
    LoopbackConnection* connection = nullptr;
    std::vector<std::unique_ptr<Received>> arrived;
    size_t posted_receives = 0;
    absl::Status end;
    bool detached = false;
    bool wake_pending = false;
  };
  struct Region {
    absl::Span<std::byte> memory;
    bool writable;
  };

  void Wake(Side side) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWake(Side side);
  std::byte* Reach(uint64_t address, uint32_t rkey, size_t size, bool write)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  End ends_[2] ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, Region> regions_ ABSL_GUARDED_BY(mutex_);  // by rkey
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs
