// RawServer: a server made of bare rdma_cm calls, which answers as no server of ours would.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "tests/transport/rdma/test_address.h"
#include "transport/base/socket_address.h"
#include "transport/connection.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/handshake.h"

namespace rdmafs {

// Takes one connection at a time, on a thread of its own, as Connect() blocks. Calls are taken and
// answered on the test's.
class RawServer {
 public:
  static constexpr uint64_t kMaxReceives = 8;

  // `flags`: of its answer to the client's hello. `receives`: how many messages it has room for.
  explicit RawServer(uint32_t flags, uint64_t receives = kMaxReceives)
      : flags_(flags), receives_(receives) {
    EXPECT_TRUE(rdma::OpenEventChannel(channel_).ok());
    rdma_cm_id* id = nullptr;
    EXPECT_EQ(rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP), 0);
    listener_.reset(id);
    auto addresses = SocketAddress::Resolve(TestAddress(), 0, kSecond);
    EXPECT_EQ(rdma_bind_addr(id, const_cast<sockaddr*>(addresses->front().get())), 0);
    EXPECT_EQ(rdma_listen(id, 4), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~RawServer() {
    stop_ = true;
    thread_.join();
    peers_.clear();
  }

  Endpoint endpoint() const { return {TestAddress(), ntohs(rdma_get_src_port(listener_.get()))}; }

  // Room for all that there can be, in the connection made last; once, where there is none.
  void PostReceives() { PostReceives(*peers_.back(), kMaxReceives); }
  // The next call of the connection that was made last.
  wire::MessageHeader NextCall() {
    wire::MessageHeader header{};
    const std::optional<ibv_wc> completion = Await(/*receive=*/true);
    EXPECT_TRUE(completion.has_value()) << "no call";
    if (completion)
      std::memcpy(&header, &peers_.back()->memory[completion->wr_id * kBytes], sizeof header);
    return header;
  }
  // An empty reply in the call's slot, sent as `opcode`; `number` is the rkey to invalidate, or the
  // immediate data. Whether the client's device took it.
  bool Reply(const wire::MessageHeader& call, ibv_wr_opcode opcode, uint32_t number) {
    PostReply(call, opcode, number);
    const std::optional<ibv_wc> completion = Await(/*receive=*/false);
    return completion && completion->status == IBV_WC_SUCCESS;
  }
  // The same, without waiting for what becomes of it.
  void PostReply(const wire::MessageHeader& call, ibv_wr_opcode opcode, uint32_t number) {
    Peer& peer = *peers_.back();
    wire::MessageHeader reply = call;
    reply.size = sizeof reply;
    reply.flags = wire::kFlagReply;
    reply.inline_size = reply.remote_size = reply.rkey = 0;
    reply.remote_address = 0;
    std::memcpy(peer.memory.data(), &reply, sizeof reply);
    ibv_sge sge{.addr = reinterpret_cast<uintptr_t>(peer.memory.data()),
                .length = sizeof reply,
                .lkey = peer.region->lkey};
    ibv_send_wr wr{};
    wr.opcode = opcode;
    wr.send_flags = IBV_SEND_SIGNALED;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    if (opcode == IBV_WR_SEND_WITH_INV) wr.invalidate_rkey = number;
    if (opcode == IBV_WR_SEND_WITH_IMM) wr.imm_data = number;
    ibv_send_wr* bad = nullptr;
    EXPECT_EQ(ibv_post_send(peer.id->qp, &wr, &bad), 0);
  }
  size_t connection_count() const { return count_; }

 private:
  static constexpr size_t kBytes = wire::kMaxMessageBytes;
  struct Peer {
    rdma::CmIdPtr id;
    std::vector<std::byte> memory = std::vector<std::byte>(kBytes * (kMaxReceives + 1));
    rdma::DomainPtr domain;
    rdma::CqPtr cq;
    rdma::RegionPtr region;
    std::deque<ibv_wc> completions[2];  // of sends and of receives, not yet asked for
    ~Peer() { rdma_destroy_qp(id.get()); }
  };

  void Serve() {
    while (!stop_) {
      if (auto event = rdma::NextCmEvent(*channel_)) {
        if (event->type == RDMA_CM_EVENT_CONNECT_REQUEST) Accept(event->id);
        continue;
      }
      pollfd descriptor{.fd = channel_->fd, .events = POLLIN};
      (void)poll(&descriptor, 1, 20);
    }
  }
  void Accept(rdma_cm_id* id) {
    auto peer = std::make_unique<Peer>();
    peer->id.reset(id);
    peer->domain.reset(ibv_alloc_pd(id->verbs));
    peer->cq.reset(ibv_create_cq(id->verbs, 32, nullptr, nullptr, 0));
    peer->region.reset(ibv_reg_mr(peer->domain.get(), peer->memory.data(), peer->memory.size(),
                                  int{IBV_ACCESS_LOCAL_WRITE}));
    ibv_qp_init_attr attributes{};
    attributes.qp_type = IBV_QPT_RC;
    attributes.send_cq = attributes.recv_cq = peer->cq.get();
    attributes.cap = {
        .max_send_wr = 8, .max_recv_wr = kMaxReceives, .max_send_sge = 1, .max_recv_sge = 1};
    EXPECT_EQ(rdma_create_qp(id, peer->domain.get(), &attributes), 0);
    PostReceives(*peer, receives_);
    const rdma::Hello hello{.credits = 4, .flags = flags_};
    rdma_conn_param parameters{};
    parameters.private_data = &hello;
    parameters.private_data_len = sizeof hello;
    parameters.initiator_depth = 1;
    parameters.rnr_retry_count = 7;
    peers_.push_back(std::move(peer));
    ++count_;
    EXPECT_EQ(rdma_accept(id, &parameters), 0);
  }
  static void PostReceives(Peer& peer, uint64_t count) {
    for (uint64_t i = 1; i <= count; ++i) {
      ibv_sge sge{.addr = reinterpret_cast<uintptr_t>(&peer.memory[i * kBytes]),
                  .length = kBytes,
                  .lkey = peer.region->lkey};
      ibv_recv_wr wr{.wr_id = i, .sg_list = &sge, .num_sge = 1};
      ibv_recv_wr* bad = nullptr;
      EXPECT_EQ(ibv_post_recv(peer.id->qp, &wr, &bad), 0);
    }
  }
  std::optional<ibv_wc> Await(bool receive) {
    std::deque<ibv_wc>& completions = peers_.back()->completions[receive];
    for (int i = 0; i < 10'000 && completions.empty(); ++i) {
      ibv_wc completion{};
      const int count = ibv_poll_cq(peers_.back()->cq.get(), 1, &completion);
      if (count == 1) peers_.back()->completions[completion.wr_id != 0].push_back(completion);
      if (count == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (completions.empty()) return std::nullopt;
    const ibv_wc completion = completions.front();
    completions.pop_front();
    return completion;
  }

  const uint32_t flags_;
  const uint64_t receives_;
  rdma::EventChannelPtr channel_;
  rdma::CmIdPtr listener_;
  // Connect() of the other side is between its two threads.
  std::vector<std::unique_ptr<Peer>> peers_;
  std::atomic<size_t> count_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace rdmafs
