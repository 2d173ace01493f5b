// RdmaListener: accepts connections, from REQ to ESTABLISHED, without blocking its loop.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "transport/base/socket_address.h"
#include "transport/connection.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/handshake.h"
#include "transport/rdma/queue_pair.h"
#include "transport/rdma/removal_notice.h"
#include "transport/rdma/window_trial.h"

namespace rdmafs::rdma {

// Owned by its loop's thread.
class RdmaListener final : public Listener {
 public:
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      const Endpoint& endpoint, const ConnectionOptions& options, EventLoop& loop,
      Transport::AcceptFunction accept, const TransportResources& resources,
      std::shared_ptr<ProtectionDomains> domains, std::shared_ptr<WindowTrials> trials);
  ~RdmaListener() override;

  std::string address() const override { return address_; }
  uint16_t port() const override { return port_; }

 private:
  // Where it listens; without an id while no device has the address.
  struct Place {
    SocketAddress address;
    CmIdPtr id;
  };
  // Accepted, but the client has not yet said that it knows. Destroyed from the bottom up.
  struct Pending {
    CmIdPtr id;
    std::unique_ptr<QueuePair> queue_pair;
    uint16_t credits = 0;
    bool invalidates = false;
    EventLoop::TimerId timer = 0;
    std::string peer;
    std::unique_ptr<RemovalNotice> removal;
  };

  RdmaListener(const ConnectionOptions& options, EventLoop& loop, Transport::AcceptFunction accept,
               const TransportResources& resources, std::shared_ptr<ProtectionDomains> domains,
               std::shared_ptr<WindowTrials> trials);
  absl::Status Bind(const Endpoint& endpoint);
  absl::Status BindTo(Place& place);
  void OnEvents();
  void OnPlaceLost(Place& place, const CmEvent& event);
  void ListenAgain();
  void OnRequest(const CmEvent& event);
  absl::StatusOr<Pending> Answer(CmIdPtr& id, const Hello& answer, const CmEvent& event);
  bool CanInvalidate(rdma_cm_id& id);
  void Refuse(rdma_cm_id& id, Refusal refusal);
  void OnEstablished(rdma_cm_id* id);
  void OnEarlyMessage(rdma_cm_id* id);
  void DropPending(rdma_cm_id* id, const absl::Status& reason);

  const ConnectionOptions options_;
  EventLoop& loop_;
  const Transport::AcceptFunction accept_;
  const TransportResources resources_;
  const std::shared_ptr<ProtectionDomains> domains_;
  const std::shared_ptr<WindowTrials> trials_;
  EventChannelPtr channel_;
  std::vector<Place> places_;  // one; for all addresses one of IPv6 and one of IPv4
  std::string address_;        // of the first place
  uint16_t port_ = 0;          // of all
  EventLoop::TimerId again_timer_ = 0;
  std::unordered_map<rdma_cm_id*, Pending> pending_;
};

}  // namespace rdmafs::rdma
