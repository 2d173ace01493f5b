// LoopbackConnection: one end of a connection within the process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"
#include "transport/loopback/loopback_link.h"

namespace rdmafs {

// The memory that one side has registered: its arena's slabs. Thread-safe.
class LoopbackMemory {
 public:
  explicit LoopbackMemory(Arena& arena);
  ~LoopbackMemory();
  // Whether all of `memory` lies in one slab; nothing lies anywhere.
  bool Contains(absl::Span<const std::byte> memory) const;

 private:
  Arena& arena_;
  int observer_ = 0;
  mutable absl::Mutex mutex_;
  std::vector<Arena::Slab> slabs_ ABSL_GUARDED_BY(mutex_);
};

// See Connection. Work requests are carried out at the end of the round in which they were posted,
// so that memory which is reused too early is seen to be.
class LoopbackConnection final : public Connection {
 public:
  LoopbackConnection(std::shared_ptr<LoopbackLink> link, LoopbackLink::Side side, std::string peer,
                     uint16_t credits, std::shared_ptr<const LoopbackMemory> memory,
                     MemoryExposure exposure);
  ~LoopbackConnection() override;

  std::string_view transport_name() const override { return "loopback"; }
  std::string peer() const override { return peer_; }
  std::string exposure() const override { return windows_ ? "window" : "cache"; }
  void Start(EventLoop& loop, ConnectionHandler& handler) override;
  Errno Post(Outgoing message) override;
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Pulled> reply) override;
  void Close(absl::Status reason) override;

  // From the link, on the loop's thread: something arrived.
  void OnWake() { Schedule(); }

 private:
  // A slot, and what its call in flight exposed.
  struct Call {
    bool in_flight = false;  // client
    uint32_t sequence = 0;
    uint32_t rkey = 0;  // of its memory; 0: it exposed none
    Buffer hold;
  };
  struct WorkRequest {
    wire::MessageHeader header;
    std::vector<std::byte> body;
    absl::Span<const std::byte> inline_payload, push;
    uint64_t remote_address = 0;
    uint32_t rkey = 0;
    uint32_t invalidate = 0;  // the rkey that ends with it
    Buffer hold;
  };
  struct PullRequest {
    uint64_t remote_address;
    uint32_t rkey;
    absl::Span<std::byte> destination;
    Buffer hold;
    Reply<Pulled> reply;
  };

  static void Release(void* owner, uint64_t token);
  void Schedule();
  void EndOfRound();
  void CarryOut();
  void Send(WorkRequest& request);
  void Read(PullRequest& request);
  void Receive();
  bool AcceptReply(const LoopbackLink::Received& reply, Buffer& hold);
  bool PrepareCall(Outgoing& message);
  void PrepareReply(Outgoing& message, WorkRequest& request);
  Call& CallOf(uint16_t slot);
  void Fail(absl::Status reason, absl::Status others_reason);
  void Finish();

  const std::shared_ptr<LoopbackLink> link_;
  const LoopbackLink::Side side_;
  const std::string peer_;
  const std::shared_ptr<const LoopbackMemory> memory_;
  const bool windows_;  // replies invalidate what their calls exposed

  // Shard thread only.
  EventLoop* loop_ = nullptr;
  ConnectionHandler* handler_ = nullptr;
  bool scheduled_ = false;  // EndOfRound() will run
  bool closing_ = false;
  bool finished_ = false;
  absl::Status reason_, others_reason_;
  std::vector<Call> calls_;  // by slot
  std::vector<WorkRequest> queue_;
  std::vector<PullRequest> pulls_;
};

}  // namespace rdmafs
