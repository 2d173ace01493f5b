// SendQueue: what one QP's send queue holds, what waits for room in it, and what each keeps alive.
#pragma once

#include <infiniband/verbs.h>

#include <deque>
#include <optional>
#include <vector>

#include "transport/connection.h"
#include "transport/rdma/fixed_queue.h"
#include "transport/rdma/memory_windows.h"
#include "transport/rdma/send_ring.h"

namespace rdmafs::rdma {

// Owned by one shard thread. SENDs and RDMA_WRITEs complete in order, so that one completion ends
// all that were posted before it. An RDMA_READ ends by its own only: Soft-iWARP reports a SEND that
// was posted behind a READ before that READ's data is there. wr_id is the number of the entry.
class SendQueue {
 public:
  struct Options {
    ibv_qp* qp = nullptr;
    uint32_t max_wr = 0;       // of the QP, at least kMinSendWr
    uint32_t max_inline = 0;   // bytes for IBV_SEND_INLINE
    uint32_t max_reads = 1;    // RDMA_READs at once (initiator depth)
    uint32_t queue_limit = 0;  // messages, and reads, that may wait beyond that
    bool signal_all = false;     // every SEND
    bool signal_writes = false;  // every RDMA_WRITE, too
    bool bind_alone = false;     // a BIND_MW behind nothing that may be sent again; with signal_all
    uint32_t permits = UINT32_MAX;  // see AddPermit()
  };
  // A SEND of header, body and inline payload; before it, when `push` is not empty, an RDMA_WRITE,
  // or a BIND_MW, when there is one. Not both.
  struct Message {
    wire::MessageHeader header{};
    absl::Span<const std::byte> body;
    absl::Span<const std::byte> inline_payload;
    uint32_t inline_lkey = 0;
    absl::Span<const std::byte> push;
    uint32_t push_lkey = 0;
    uint64_t remote_address = 0;
    uint32_t rkey = 0;
    WindowBinding binding;
    std::optional<uint32_t> invalidate;  // the peer's rkey that ends when the SEND arrives
    Buffer hold;  // what inline payload and push lie in: until the completion
  };
  struct Read {
    absl::Span<std::byte> destination;
    uint32_t lkey = 0;
    uint64_t remote_address = 0;
    uint32_t rkey = 0;
    Buffer hold;
    Reply<Connection::Pulled> reply;
  };

  SendQueue(const Options& options, SendRing ring);

  // Sends now, or as soon as there is room, in order. ENOBUFS beyond queue_limit.
  Errno Post(Message message);
  // Reads now, or when earlier reads are done. ENOBUFS beyond queue_limit; `read` is left alone
  // then.
  Errno Fetch(Read& read);
  // An RDMA_WRITE of no bytes, if there is room: the peer's program sees nothing of it, its device
  // does.
  void Nudge();
  // One more message may be sent: on a client there must be a receive for each reply to come, as
  // iWARP ends a connection that has none, and InfiniBand makes the server wait.
  void AddPermit();
  // The entry `number` has completed.
  void Complete(uint64_t number);
  // The QP no longer exists: drops every hold and completes every read with ENOTCONN.
  void Abandon();

  bool empty() const { return posted_.empty(); }
  // What the entry does, for the log.
  const char* Describe(uint64_t number);
  // Why ibv_post_send(3) failed, once it has: the connection is beyond repair then.
  Errno fault() const { return fault_; }

 private:
  struct Posted {
    uint64_t ring_block = 0;
    uint8_t wr_count = 0;
    bool is_read = false;
    bool binds = false;
    bool done = false;
    Buffer hold;
  };
  struct Waiting {
    Message message;
    std::vector<std::byte> body;
  };

  bool Inlined(const Message& message) const;
  bool HasRoom(const Message& message) const;
  void Submit(Message& message);
  void SubmitChain(const Message& message, ibv_send_wr& send);
  int Gather(Message& message, ibv_sge* sges);
  void PostChain(ibv_send_wr* first);
  void EndSendsUpTo(uint64_t number);
  void FinishRead();
  void SubmitWaiting();
  void IssueReads();

  const Options options_;
  SendRing ring_;
  FixedQueue<Posted> posted_;
  uint64_t first_open_ = 0;  // SENDs of posted_ before this have completed
  FixedQueue<Read> reads_;   // in flight, then waiting
  uint64_t next_read_ = 0;   // the first of the waiting ones
  std::deque<Waiting> waiting_;
  uint32_t used_wr_ = 0;
  uint32_t unsignalled_ = 0;  // at the end of posted_
  uint32_t permits_;
  Errno fault_;
};

// With fewer WRs the queue could be full of unsignalled SENDs, and never empty.
inline constexpr uint32_t kMinSendWr = 32;
// A SEND without a signal is ended by the next one that has one.
inline constexpr uint32_t kSignalEvery = 16;
// Room for kSignalEvery messages of the largest size wherever in a block they begin.
inline constexpr size_t kSendRingBlocks = 10;

}  // namespace rdmafs::rdma
