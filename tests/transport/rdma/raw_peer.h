// RawPeer: a client made of bare rdma_cm calls, which sends what no client of ours would.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <rdma/rdma_verbs.h>

#include <cstring>
#include <vector>

#include "absl/types/span.h"
#include "transport/base/socket_address.h"
#include "transport/connection.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/handshake.h"

namespace rdmafs {

class RawPeer {
 public:
  // The event that ended the attempt: ESTABLISHED, REJECTED or another.
  rdma::CmEvent Connect(const Endpoint& server, absl::Span<const std::byte> private_data) {
    EXPECT_TRUE(rdma::OpenEventChannel(channel_).ok());
    rdma_cm_id* id = nullptr;
    EXPECT_EQ(rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP), 0);
    id_.reset(id);
    auto addresses = SocketAddress::Resolve(server.host, server.port, kSecond);
    EXPECT_EQ(rdma_resolve_addr(id, nullptr, const_cast<sockaddr*>(addresses->front().get()), 5000),
              0);
    EXPECT_EQ(Await().type, RDMA_CM_EVENT_ADDR_RESOLVED);
    EXPECT_EQ(rdma_resolve_route(id, 5000), 0);
    EXPECT_EQ(Await().type, RDMA_CM_EVENT_ROUTE_RESOLVED);
    ibv_qp_init_attr attributes{};
    attributes.qp_type = IBV_QPT_RC;
    attributes.cap = {.max_send_wr = 300, .max_recv_wr = 16, .max_send_sge = 1, .max_recv_sge = 1};
    EXPECT_EQ(rdma_create_qp(id, nullptr, &attributes), 0);
    region_.reset(ibv_reg_mr(id->pd, memory_.data(), memory_.size(), IBV_ACCESS_LOCAL_WRITE));
    EXPECT_NE(region_, nullptr);
    rdma_conn_param parameters{};
    parameters.private_data = private_data.data();
    parameters.private_data_len = static_cast<uint8_t>(private_data.size());
    parameters.responder_resources = 4;
    parameters.retry_count = parameters.rnr_retry_count = 7;
    EXPECT_EQ(rdma_connect(id, &parameters), 0);
    return Await();
  }
  rdma::CmEvent ConnectProperly(const Endpoint& server) {
    const rdma::Hello hello{.credits = 64};
    return Connect(server, {reinterpret_cast<const std::byte*>(&hello), sizeof hello});
  }

  void Send(absl::Span<const std::byte> bytes) {
    std::memcpy(memory_.data(), bytes.data(), bytes.size());
    EXPECT_EQ(rdma_post_send(id_.get(), nullptr, memory_.data(), bytes.size(), region_.get(), 0),
              0);
  }
  // The next event; a default one after 10 s without any.
  rdma::CmEvent Await() {
    for (int i = 0; i < 100; ++i) {
      if (auto event = rdma::NextCmEvent(*channel_)) return *event;
      pollfd descriptor{.fd = channel_->fd, .events = POLLIN};
      (void)poll(&descriptor, 1, 100);
    }
    return rdma::CmEvent{.type = RDMA_CM_EVENT_MULTICAST_ERROR};
  }

 private:
  using RegionPtr = std::unique_ptr<ibv_mr, rdma::DestroyWith<ibv_dereg_mr>>;
  struct QpDestroyer {
    rdma::CmIdPtr& id;
    ~QpDestroyer() {
      if (id != nullptr && id->qp != nullptr) rdma_destroy_qp(id.get());
    }
  };

  std::vector<std::byte> memory_ = std::vector<std::byte>(65536);
  rdma::EventChannelPtr channel_;
  rdma::CmIdPtr id_;
  RegionPtr region_;
  QpDestroyer qp_destroyer_{id_};
};

}  // namespace rdmafs
