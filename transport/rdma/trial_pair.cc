#include "transport/rdma/trial_pair.h"

#include <poll.h>
#include <sys/random.h>
#include <time.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"
#include "transport/base/socket_address.h"
#include "transport/rdma/undisturbed_connect.h"

namespace rdmafs::rdma {
namespace {

constexpr int kResolveMs = 1000;
constexpr long kPollPauseNs = 20'000;
constexpr uint8_t kRetryAfter640Us = 12;  // min_rnr_timer of ibv_modify_qp(3)

}  // namespace

absl::StatusOr<std::unique_ptr<TrialPair>> TrialPair::Make(rdma_cm_id& id, ibv_pd& domain,
                                                           Room room, const Clock& clock,
                                                           Nanoseconds deadline) {
  std::unique_ptr<TrialPair> pair(new TrialPair(domain, room, clock, deadline));
  absl::Status status = pair->Connect(id);
  if (status.ok() && room == Room::kOwnersOnly) pair->HastenRetries(kPeer);
  if (!status.ok()) return status;
  return pair;
}

TrialPair::~TrialPair() {
  for (End& end : ends_) {
    if (end.id != nullptr && end.id->qp != nullptr) rdma_destroy_qp(end.id.get());
  }
}

absl::Status TrialPair::Connect(rdma_cm_id& id) {
  if (getrandom(&nonce_, sizeof nonce_, 0) != sizeof nonce_) return Failed("getrandom");
  absl::Status status = OpenEventChannel(channel_);
  if (status.ok()) status = Listen(id);
  if (!status.ok()) return status;
  rdma_cm_id* raw = nullptr;
  if (rdma_create_id(channel_.get(), &raw, nullptr, RDMA_PS_TCP) != 0)
    return Failed("rdma_create_id");
  ends_[kOwner].id.reset(raw);
  if (rdma_resolve_addr(raw, nullptr, rdma_get_local_addr(listener_.get()), kResolveMs) != 0) {
    return Failed("rdma_resolve_addr");
  }
  while (established_count_ != 2) {
    if (auto event = NextCmEvent(*channel_)) {
      status = OnEvent(*event);
      if (!status.ok()) return status;
      continue;
    }
    const Nanoseconds left = deadline_ - clock_.Now();
    if (left <= 0) return absl::DeadlineExceededError("no connection with itself in time");
    pollfd descriptor{.fd = channel_->fd, .events = POLLIN};
    (void)poll(&descriptor, 1, static_cast<int>(left / kMillisecond) + 1);
  }
  return absl::OkStatus();
}

absl::Status TrialPair::Listen(rdma_cm_id& id) {
  rdma_cm_id* raw = nullptr;
  if (rdma_create_id(channel_.get(), &raw, nullptr, RDMA_PS_TCP) != 0)
    return Failed("rdma_create_id");
  listener_.reset(raw);
  SocketAddress address(rdma_get_local_addr(&id));
  address.set_port(0);
  if (rdma_bind_addr(raw, const_cast<sockaddr*>(address.get())) != 0)
    return Failed("rdma_bind_addr");
  if (rdma_listen(raw, 1) != 0) return Failed("rdma_listen");
  return absl::OkStatus();
}

absl::Status TrialPair::OnEvent(const CmEvent& event) {
  rdma_cm_id* owner = ends_[kOwner].id.get();
  switch (event.type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      if (rdma_resolve_route(owner, kResolveMs) != 0) return Failed("rdma_resolve_route");
      return absl::OkStatus();
    case RDMA_CM_EVENT_ROUTE_RESOLVED: {
      absl::Status status = MakeQueues(ends_[kOwner]);
      if (status.ok()) status = PostReceives(kOwner);
      if (!status.ok()) return status;
      rdma_conn_param parameters{};
      parameters.private_data = &nonce_;
      parameters.private_data_len = sizeof nonce_;
      parameters.responder_resources = 1;
      parameters.retry_count = parameters.rnr_retry_count = 7;
      if (ConnectUndisturbed(owner, &parameters) != 0) return Failed("rdma_connect");
      return absl::OkStatus();
    }
    case RDMA_CM_EVENT_CONNECT_REQUEST:
      return OnRequest(event);
    case RDMA_CM_EVENT_ESTABLISHED:
      ++established_count_;
      return absl::OkStatus();
    default:
      return absl::UnavailableError(absl::StrCat("no connection with itself: ", event.name()));
  }
}

absl::Status TrialPair::OnRequest(const CmEvent& event) {
  CmIdPtr id(event.id);
  const bool ours = event.size_bytes >= sizeof nonce_ && ends_[kPeer].id == nullptr &&
                    std::memcmp(event.bytes.data(), &nonce_, sizeof nonce_) == 0;
  if (!ours) {
    (void)rdma_reject(id.get(), nullptr, 0);
    return absl::OkStatus();
  }
  ends_[kPeer].id = std::move(id);
  absl::Status status = MakeQueues(ends_[kPeer]);
  if (status.ok() && room_ == Room::kAll) status = PostReceives(kPeer);
  if (!status.ok()) return status;
  rdma_conn_param parameters{};
  parameters.initiator_depth = 1;
  parameters.rnr_retry_count = 7;
  if (rdma_accept(ends_[kPeer].id.get(), &parameters) != 0) return Failed("rdma_accept");
  return absl::OkStatus();
}

absl::Status TrialPair::MakeQueues(End& end) {
  end.region.reset(
      ibv_reg_mr(&domain_, end.memory.data(), end.memory.size(), int{IBV_ACCESS_LOCAL_WRITE}));
  if (end.region == nullptr) return Failed("ibv_reg_mr");
  end.cq.reset(ibv_create_cq(end.id->verbs, 2 * kReceives, nullptr, nullptr, 0));
  if (end.cq == nullptr) return Failed("ibv_create_cq");
  ibv_qp_init_attr attributes{};
  attributes.qp_type = IBV_QPT_RC;
  attributes.send_cq = attributes.recv_cq = end.cq.get();
  attributes.cap = {
      .max_send_wr = kReceives, .max_recv_wr = kReceives, .max_send_sge = 1, .max_recv_sge = 1};
  if (rdma_create_qp(end.id.get(), &domain_, &attributes) != 0) return Failed("rdma_create_qp");
  return absl::OkStatus();
}

absl::Status TrialPair::PostReceives(Side side) {
  End& end = ends_[side];
  for (size_t i = 1; i <= kReceives; ++i) {
    ibv_sge sge{.addr = reinterpret_cast<uintptr_t>(&end.memory[i * kMessageBytes]),
                .length = kMessageBytes,
                .lkey = end.region->lkey};
    ibv_recv_wr wr{.wr_id = kReceiveId, .sg_list = &sge, .num_sge = 1};
    ibv_recv_wr* bad = nullptr;
    if (ibv_post_recv(end.id->qp, &wr, &bad) != 0) return Failed("ibv_post_recv");
  }
  return absl::OkStatus();
}

// rdma_cm has whoever is refused wait for the longest time there is, 655 ms. A device may leave it
// at that.
void TrialPair::HastenRetries(Side side) {
  ibv_qp_attr attributes{};
  attributes.min_rnr_timer = kRetryAfter640Us;
  (void)ibv_modify_qp(ends_[side].id->qp, &attributes, IBV_QP_MIN_RNR_TIMER);
}

ibv_send_wr TrialPair::Message(Side side, ibv_sge& sge) const {
  const End& end = ends_[side];
  sge = {.addr = reinterpret_cast<uintptr_t>(end.memory.data()),
         .length = kMessageBytes,
         .lkey = end.region->lkey};
  ibv_send_wr wr{};
  wr.opcode = IBV_WR_SEND;
  wr.send_flags = IBV_SEND_SIGNALED;
  wr.sg_list = &sge;
  wr.num_sge = 1;
  return wr;
}

absl::Status TrialPair::Submit(Side side, ibv_send_wr& first) {
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(ends_[side].id->qp, &first, &bad);
  if (error == 0) return absl::OkStatus();
  const Errno reason(error > 0 ? error : EIO);
  return absl::UnavailableError(absl::StrCat("ibv_post_send: ", reason.ToString()));
}

absl::StatusOr<ibv_wc> TrialPair::Completed(Side side, Nanoseconds deadline) {
  return Await(side, /*receive=*/false, deadline);
}

absl::StatusOr<ibv_wc> TrialPair::Post(Side side, ibv_send_wr& first) {
  absl::Status status = Submit(side, first);
  if (!status.ok()) return status;
  return Completed(side, deadline_);
}

absl::StatusOr<ibv_wc> TrialPair::Receive(Side side) {
  return Await(side, /*receive=*/true, deadline_);
}

absl::StatusOr<ibv_wc> TrialPair::Await(Side side, bool receive, Nanoseconds deadline) {
  while (true) {
    ibv_wc completion{};
    const int count = ibv_poll_cq(ends_[side].cq.get(), 1, &completion);
    if (count < 0) return absl::UnavailableError("the completion queue failed");
    if (count == 1 && (completion.wr_id == kReceiveId) == receive) return completion;
    if (count == 1) continue;
    if (clock_.Now() > deadline) {
      return absl::DeadlineExceededError("a work request did not complete in time");
    }
    const timespec pause{.tv_sec = 0, .tv_nsec = kPollPauseNs};
    (void)nanosleep(&pause, nullptr);
  }
}

void TrialPair::Halt() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  for (End& end : ends_) {
    if (end.id != nullptr && end.id->qp != nullptr)
      ibv_modify_qp(end.id->qp, &attributes, IBV_QP_STATE);
  }
}

absl::Status TrialPair::Failed(const char* what) const {
  return absl::UnavailableError(absl::StrCat(what, ": ", Errno(errno).ToString()));
}

}  // namespace rdmafs::rdma
