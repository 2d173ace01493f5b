// QueuePair: a QP with its CQ, its domain, its posted receives and its send queue.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/memory/buffer_pool.h"
#include "transport/rdma/completion_queue.h"
#include "transport/rdma/memory_windows.h"
#include "transport/rdma/protection_domain.h"
#include "transport/rdma/send_queue.h"

namespace rdmafs::rdma {

// Marks a wr_id as a receive's; the rest is the number of its buffer.
inline constexpr uint64_t kReceiveBit = uint64_t{1} << 63;

// Owned by one thread at a time.
class QueuePair {
 public:
  struct Options {
    uint16_t credits = 0;
    bool server = false;
    bool windows = false;  // one for each slot, and one for the set-up slot
    bool repeats_binds = false;  // see WindowSupport
  };

  // On `id`, whose device is known; the id must outlive this. All receives are posted.
  static absl::StatusOr<std::unique_ptr<QueuePair>> Create(rdma_cm_id& id,
                                                           std::shared_ptr<ProtectionDomain> domain,
                                                           BufferPool& messages,
                                                           const Options& options);
  ~QueuePair();

  // Both until Destroy().
  ProtectionDomain& domain() { return *domain_; }
  CompletionQueue& cq() { return *cq_; }
  SendQueue& sends() { return *sends_; }
  // nullptr unless they were asked for; until Destroy().
  const MemoryWindows* windows() const { return windows_.get(); }

  // How many RDMA_READs the device lets a QP have under way, as initiator and as responder.
  uint8_t max_initiator_depth() const { return max_initiator_depth_; }
  uint8_t max_responder_resources() const { return max_responder_resources_; }
  // Makes the send queue, when the initiator depth has been agreed. Once, before anything is sent.
  void Open(uint8_t initiator_depth);

  // The first `size` bytes of the receive buffer `index`.
  absl::Span<const std::byte> Received(uint64_t index, size_t size) const;
  // Posts the receive buffer `index` again.
  Errno PostReceive(uint64_t index);

  // Moves the QP to ERROR: nothing is sent or accepted any more.
  void Halt();
  // Destroys the QP, its windows and its CQ, and leaves its domain: nothing of the device is held
  // any more, whoever still reads receive buffers. That waits until the device has let go of all
  // its memory, which flushed completions alone do not tell for an unsignalled WR that ended well.
  void Destroy();

 private:
  struct Receive {
    Buffer buffer;
    uint32_t lkey = 0;
  };

  QueuePair(rdma_cm_id& id, std::shared_ptr<ProtectionDomain> domain, const Options& options)
      : id_(id), domain_(std::move(domain)), options_(options) {}
  absl::Status MakeQueues();
  absl::Status MakeQp();
  absl::Status TakeReceives(BufferPool& messages);
  absl::Status TakeSendBlocks(BufferPool& messages);
  absl::StatusOr<Receive> TakeBlock(BufferPool& messages);

  rdma_cm_id& id_;
  std::shared_ptr<ProtectionDomain> domain_;  // until Destroy()
  const Options options_;
  uint32_t max_send_wr_ = 0, max_inline_ = 0, receive_count_ = 0;
  uint8_t max_initiator_depth_ = 1, max_responder_resources_ = 1;
  std::unique_ptr<CompletionQueue> cq_;
  std::vector<Receive> receives_;
  std::vector<SendRing::Block> send_blocks_;
  std::optional<SendQueue> sends_;
  std::unique_ptr<MemoryWindows> windows_;
};

}  // namespace rdmafs::rdma
