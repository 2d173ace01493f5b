// RdmaConnection: the transport's Connection over one RC queue pair.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transport/connection.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/queue_pair.h"
#include "transport/rdma/removal_notice.h"

namespace rdmafs::rdma {

// Owned by one shard thread after Start(); see transport/connection.h.
class RdmaConnection final : public Connection, private CompletionPoller {
 public:
  struct Parts {
    EventChannelPtr channel;  // the id's own, from now on
    CmIdPtr id;               // established
    std::unique_ptr<QueuePair> queue_pair;
    std::shared_ptr<ProtectionDomains> domains;
    bool server = false;
    uint16_t credits = 0;
    bool invalidates = false;       // server: replies invalidate what their calls expose
    std::string exposure;           // client: see Connection
    unsigned invalidated_flag = 0;  // client with windows: see WindowSupport
  };

  explicit RdmaConnection(Parts parts);
  ~RdmaConnection() override;

  std::string_view transport_name() const override { return "rdma"; }
  std::string peer() const override { return peer_; }
  std::string device() const override { return device_; }
  std::string exposure() const override { return exposure_; }
  void Start(EventLoop& loop, ConnectionHandler& handler) override;
  Errno Post(Outgoing message) override;
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Pulled> reply) override;
  void Close(absl::Status reason) override;

 private:
  enum class State { kOpen, kClosing, kClosed };
  // What is remembered of a call in flight.
  struct Slot {
    bool in_flight = false;     // client
    uint32_t exposed_size = 0;  // client; server: of the sink
    std::optional<uint32_t> rkey;  // what the reply has to invalidate
    Buffer hold;                // client: the exposed memory's
    MemoryRegionCache::Pin pin;  // client: its registration, if it is foreign
  };

  // CompletionPoller.
  bool Poll() override;
  bool Busy() const override;
  bool Arm() override;

  // Set-up has a slot of its own, beyond the credits; it is over before they are used.
  bool HasSlot(uint16_t slot) const { return slot < credits_ || slot == wire::kSetUpSlot; }
  Errno PrepareCall(const Outgoing& message, SendQueue::Message& send);
  Errno PrepareReply(const Outgoing& message, SendQueue::Message& send);
  void Expose(const Outgoing& message, const MemoryKeys& keys, MemoryAccess access,
              SendQueue::Message& send);
  Errno CheckPosted();
  void OnCompletion(const ibv_wc& completion);
  void OnReceive(const ibv_wc& completion);
  const char* FindFault(const wire::MessageHeader& header, const ibv_wc& completion) const;
  const char* FindWindowFault(const Slot& slot, const ibv_wc& completion) const;
  void OnFailedCompletion(const ibv_wc& completion);
  void OnCmEvents();
  void OnDeviceGone();
  void NudgeAfter(Nanoseconds delay);
  static void Release(void* connection, uint64_t index);
  void Finish();
  void LeaveLoop();

  // Constant after construction. The order is that of destruction, backwards.
  const bool server_;
  const std::shared_ptr<ProtectionDomains> domains_;
  const EventChannelPtr channel_;
  const CmIdPtr id_;
  const std::unique_ptr<QueuePair> queue_pair_;
  const std::string peer_, device_, exposure_;
  const bool invalidates_;
  const unsigned invalidated_flag_;

  // Shard thread only.
  State state_ = State::kOpen;
  EventLoop* loop_ = nullptr;
  ConnectionHandler* handler_ = nullptr;
  std::vector<Slot> slots_;
  uint32_t calls_in_flight_ = 0;
  bool disconnected_ = false;
  absl::Status reason_;
  EventLoop::TimerId flushed_timer_ = 0, finish_timer_ = 0, nudge_timer_ = 0;
  std::optional<RemovalNotice> removal_;
};

}  // namespace rdmafs::rdma
