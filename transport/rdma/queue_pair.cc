#include "transport/rdma/queue_pair.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace rdmafs::rdma {
namespace {

// Receives beyond the credits: one for a message of a peer that already believes in a returned
// credit, one for good measure.
constexpr uint32_t kSpareReceives = 2;
// More reads under way than this make nothing faster, but each costs the device's memory.
constexpr int kMaxReads = 32;
// What is asked for in turn: devices say neither how much they can nor that less would do (siw has
// 80).
constexpr uint32_t kInlineSizes[] = {256, 128, 80, 0};

absl::Status Failed(rdma_cm_id& id, const char* what, int error) {
  return absl::ResourceExhaustedError(absl::StrCat(ibv_get_device_name(id.verbs->device), ": ",
                                                   what, ": ", Errno(error).ToString()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<QueuePair>> QueuePair::Create(
    rdma_cm_id& id, std::shared_ptr<ProtectionDomain> domain, BufferPool& messages,
    const Options& options) {
  CHECK(messages.options().payload_bytes >= wire::kMaxMessageBytes);
  std::unique_ptr<QueuePair> pair(new QueuePair(id, std::move(domain), options));
  absl::Status status = pair->MakeQueues();
  if (status.ok()) status = pair->TakeSendBlocks(messages);
  if (status.ok()) status = pair->TakeReceives(messages);
  if (!status.ok()) return status;
  if (options.windows) {
    auto windows = MemoryWindows::Create(*pair->domain_->get(), options.credits + size_t{1});
    if (!windows.ok()) return windows.status();
    pair->windows_ = *std::move(windows);
  }
  return pair;
}

QueuePair::~QueuePair() { Destroy(); }

absl::Status QueuePair::MakeQueues() {
  ibv_device_attr device{};
  int error = ibv_query_device(id_.verbs, &device);
  if (error != 0) return Failed(id_, "cannot be asked for its limits", error);
  max_initiator_depth_ = static_cast<uint8_t>(std::clamp(device.max_qp_init_rd_atom, 1, kMaxReads));
  max_responder_resources_ = static_cast<uint8_t>(std::clamp(device.max_qp_rd_atom, 1, kMaxReads));
  receive_count_ = options_.credits + kSpareReceives;
  // A server may have an RDMA_READ, an RDMA_WRITE and a SEND for every credit; a client a SEND, and
  // those that had no signal yet, each behind a BIND_MW.
  const uint32_t wanted = options_.server
                              ? 3u * options_.credits + kMinSendWr
                              : (options_.credits + 2 * kSignalEvery) * (options_.windows ? 2 : 1);
  max_send_wr_ = std::min(std::max(wanted, kMinSendWr), static_cast<uint32_t>(device.max_qp_wr));
  if (static_cast<int>(receive_count_) > device.max_qp_wr || max_send_wr_ < kMinSendWr) {
    return Failed(id_, "too few work requests per QP", ENOSPC);
  }
  const int entries = static_cast<int>(max_send_wr_ + receive_count_);
  auto cq = CompletionQueue::Create(id_.verbs, entries,
                                    static_cast<unsigned>(id_.port_num) + options_.credits);
  if (!cq.ok()) return cq.status();
  cq_ = *std::move(cq);
  return MakeQp();
}

absl::Status QueuePair::MakeQp() {
  int error = 0;
  for (uint32_t inline_size : kInlineSizes) {
    ibv_qp_init_attr attributes{};
    attributes.send_cq = attributes.recv_cq = cq_->get();
    attributes.qp_type = IBV_QPT_RC;
    attributes.sq_sig_all = 0;
    attributes.cap = {.max_send_wr = max_send_wr_,
                      .max_recv_wr = receive_count_,
                      .max_send_sge = 3,
                      .max_recv_sge = 1,
                      .max_inline_data = inline_size};
    if (rdma_create_qp(&id_, domain_->get(), &attributes) == 0) {
      max_inline_ = attributes.cap.max_inline_data;
      return absl::OkStatus();
    }
    error = errno;
  }
  return Failed(id_, "no QP", error);
}

absl::StatusOr<QueuePair::Receive> QueuePair::TakeBlock(BufferPool& messages) {
  Receive taken{messages.Take(), 0};
  if (!taken.buffer) {
    return absl::ResourceExhaustedError("the pool of message buffers is empty");
  }
  auto keys = domain_->cache().Lookup(taken.buffer.payload(), MemoryAccess::kLocal);
  if (!keys.ok()) return Failed(id_, "message buffers cannot be registered", keys.error().value());
  taken.lkey = keys->lkey;
  return taken;
}

absl::Status QueuePair::TakeSendBlocks(BufferPool& messages) {
  for (size_t i = 0; i < kSendRingBlocks; ++i) {
    auto taken = TakeBlock(messages);
    if (!taken.ok()) return taken.status();
    send_blocks_.push_back({std::move(taken->buffer), taken->lkey});
  }
  return absl::OkStatus();
}

absl::Status QueuePair::TakeReceives(BufferPool& messages) {
  for (uint32_t i = 0; i < receive_count_; ++i) {
    auto taken = TakeBlock(messages);
    if (!taken.ok()) return taken.status();
    receives_.push_back(*std::move(taken));
    const Errno error = PostReceive(i);
    if (!error.ok()) return Failed(id_, "cannot post a receive", error.value());
  }
  return absl::OkStatus();
}

void QueuePair::Open(uint8_t initiator_depth) {
  const SendQueue::Options options{
      .qp = id_.qp,
      .max_wr = max_send_wr_,
      .max_inline = max_inline_,
      .max_reads = initiator_depth,
      .queue_limit = receive_count_,
      .signal_all = options_.server || options_.repeats_binds,
      // Soft-iWARP sends an unsignalled WRITE from where it lies, page by page, and completes the
      // SEND behind it while TCP has yet to send those pages: they would go out with what the
      // block's next user put there. What is signalled it copies first, and is twice to four times
      // as fast.
      .signal_writes = domain_->iwarp(),
      .bind_alone = options_.repeats_binds,
      .permits = options_.server ? UINT32_MAX : receive_count_,
  };
  sends_.emplace(options, SendRing(std::move(send_blocks_)));
}

absl::Span<const std::byte> QueuePair::Received(uint64_t index, size_t size) const {
  const Buffer& buffer = receives_[index].buffer;
  return {buffer.data(), std::min(size, buffer.size())};
}

Errno QueuePair::PostReceive(uint64_t index) {
  const Receive& receive = receives_[index];
  ibv_sge sge{.addr = reinterpret_cast<uintptr_t>(receive.buffer.data()),
              .length = wire::kMaxMessageBytes,
              .lkey = receive.lkey};
  ibv_recv_wr wr{.wr_id = kReceiveBit | index, .sg_list = &sge, .num_sge = 1};
  ibv_recv_wr* bad = nullptr;
  const int error = ibv_post_recv(id_.qp, &wr, &bad);
  return error == 0 ? kOk : Errno(error > 0 ? error : EIO);
}

void QueuePair::Halt() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  if (id_.qp != nullptr) ibv_modify_qp(id_.qp, &attributes, IBV_QP_STATE);
}

// A QP must not be destroyed under its windows, nor a window be taken away from a QP that still
// answers.
void QueuePair::Destroy() {
  if (windows_ != nullptr) Halt();
  windows_.reset();
  if (id_.qp != nullptr) rdma_destroy_qp(&id_);
  cq_.reset();
  domain_.reset();
}

}  // namespace rdmafs::rdma
