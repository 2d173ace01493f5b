#include "transport/rdma/window_trial.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "transport/base/errno.h"
#include "transport/base/log.h"
#include "transport/rdma/device_watch.h"
#include "transport/rdma/memory_windows.h"
#include "transport/rdma/trial_pair.h"

namespace rdmafs::rdma {
namespace {

using Side = TrialPair::Side;

// The registered memory, and the part of it that a window exposes.
constexpr size_t kRegionBytes = 256, kWindowBegin = 64, kWindowBytes = 64;
constexpr std::byte kBefore{0x11}, kWritten{0x77};
// Until a message that there is no room for has been refused, on a device that is slow.
constexpr timespec kRefusalTime{.tv_sec = 0, .tv_nsec = 2'000'000};
// For what was refused to come again. Soft-RoCE of Linux 6.1 lets it hang, without an error; and of
// a device that takes longer nothing is known, so that it is not trusted.
constexpr Nanoseconds kRetryTime = 100 * kMillisecond;

// One pair of QPs and one window.
class Trial {
 public:
  Trial(rdma_cm_id& id, ibv_pd& domain, const Clock& clock, Nanoseconds deadline)
      : id_(id), domain_(domain), clock_(clock), deadline_(deadline) {}
  ~Trial() {
    if (pair_ != nullptr) pair_->Halt();
    window_.reset();
  }

  absl::Status Begin(TrialPair::Room peers_room = TrialPair::Room::kAll);
  // Binds the window, for writing, and tells the peer, as a call does.
  absl::Status Expose();
  // The peer writes into the window and invalidates it, as a reply does; learns the flag.
  absl::Status UseAndInvalidate(unsigned& invalidated_flag);
  // Whether the peer gets its way with `rkey` at `offset` of the region.
  absl::StatusOr<bool> Reaches(ibv_wr_opcode opcode, size_t offset, uint32_t rkey);
  // Whether the device fails when it sends again what it sent before a bind: the peer has no room
  // at first.
  absl::StatusOr<bool> RepeatsBinds();

  uint32_t window_rkey() const { return window_->rkey; }
  uint32_t region_rkey() const { return region_->rkey; }

 private:
  WindowBinding Binding();
  ibv_send_wr Access(ibv_wr_opcode opcode, size_t offset, uint32_t rkey, ibv_sge& sge);
  absl::StatusOr<unsigned> FlagsOf(ibv_wr_opcode opcode);

  rdma_cm_id& id_;
  ibv_pd& domain_;
  const Clock& clock_;
  const Nanoseconds deadline_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(kRegionBytes, kBefore);
  std::vector<std::byte> peers_ = std::vector<std::byte>(kWindowBytes, kWritten);
  RegionPtr region_, peers_region_;
  std::unique_ptr<TrialPair> pair_;
  WindowPtr window_;
};

absl::Status Trial::Begin(TrialPair::Room peers_room) {
  window_.reset(ibv_alloc_mw(&domain_, IBV_MW_TYPE_2));
  if (window_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("it has none: ibv_alloc_mw: ", Errno(errno).ToString()));
  }
  region_.reset(ibv_reg_mr(&domain_, memory_.data(), memory_.size(),
                           IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND));
  if (region_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("no memory can be registered for them: ", Errno(errno).ToString()));
  }
  // A sink of a READ is written to from outside on iWARP.
  peers_region_.reset(ibv_reg_mr(&domain_, peers_.data(), peers_.size(),
                                 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
  if (peers_region_ == nullptr) return absl::UnavailableError("no memory can be registered");
  auto pair = TrialPair::Make(id_, domain_, peers_room, clock_, deadline_);
  if (!pair.ok()) return pair.status();
  pair_ = *std::move(pair);
  return absl::OkStatus();
}

WindowBinding Trial::Binding() {
  return {.window = window_.get(),
          .region = region_.get(),
          .address = reinterpret_cast<uintptr_t>(&memory_[kWindowBegin]),
          .size_bytes = kWindowBytes,
          .access = IBV_ACCESS_REMOTE_WRITE,
          .rkey = ibv_inc_rkey(window_->rkey)};
}

absl::Status Trial::Expose() {
  ibv_sge sge;
  ibv_send_wr send = pair_->Message(Side::kOwner, sge);
  const WindowBinding binding = Binding();
  ibv_send_wr bind = BindRequest(binding, 0, &send);
  auto sent = pair_->Post(Side::kOwner, bind);
  if (!sent.ok()) return sent.status();
  if (sent->status != IBV_WC_SUCCESS) {
    return absl::UnavailableError(
        absl::StrCat("one cannot be bound: ", ibv_wc_status_str(sent->status)));
  }
  window_->rkey = binding.rkey;
  return pair_->Receive(Side::kPeer).status();
}

absl::Status Trial::UseAndInvalidate(unsigned& invalidated_flag) {
  std::fill(memory_.begin(), memory_.end(), kBefore);
  ibv_sge message_sge, write_sge;
  ibv_send_wr send = pair_->Message(Side::kPeer, message_sge);
  send.opcode = IBV_WR_SEND_WITH_INV;
  send.invalidate_rkey = window_->rkey;
  ibv_send_wr write = Access(IBV_WR_RDMA_WRITE, kWindowBegin, window_->rkey, write_sge);
  write.send_flags = 0;
  write.next = &send;
  auto sent = pair_->Post(Side::kPeer, write);
  if (!sent.ok()) return sent.status();
  if (sent->status != IBV_WC_SUCCESS) {
    return absl::UnavailableError(absl::StrCat("a write into one, and a SEND with invalidate: ",
                                               ibv_wc_status_str(sent->status)));
  }
  auto received = pair_->Receive(Side::kOwner);
  if (!received.ok()) return received.status();
  if (received->status != IBV_WC_SUCCESS || received->invalidated_rkey != window_->rkey) {
    return absl::UnavailableError("a SEND with invalidate does not say what it invalidated");
  }
  if (!std::all_of(&memory_[kWindowBegin], &memory_[kWindowBegin] + kWindowBytes,
                   [](std::byte b) { return b == kWritten; })) {
    return absl::UnavailableError("what is written through one does not arrive");
  }
  // The number could be a SEND's immediate data: it takes a flag that only an invalidation has.
  const unsigned flags = received->wc_flags;
  auto plain = FlagsOf(IBV_WR_SEND);
  auto immediate = id_.verbs->device->transport_type == IBV_TRANSPORT_IWARP
                       ? plain
                       : FlagsOf(IBV_WR_SEND_WITH_IMM);
  if (!plain.ok()) return plain.status();
  if (!immediate.ok()) return immediate.status();
  invalidated_flag = flags & ~(*plain | *immediate);
  if ((invalidated_flag & IBV_WC_WITH_INV) != 0) invalidated_flag = IBV_WC_WITH_INV;
  if (invalidated_flag == 0)
    return absl::UnavailableError("an invalidation looks like any other message");
  return absl::OkStatus();
}

absl::StatusOr<unsigned> Trial::FlagsOf(ibv_wr_opcode opcode) {
  ibv_sge sge;
  ibv_send_wr send = pair_->Message(Side::kPeer, sge);
  send.opcode = opcode;
  if (opcode == IBV_WR_SEND_WITH_IMM) send.imm_data = window_->rkey;
  auto sent = pair_->Post(Side::kPeer, send);
  if (!sent.ok()) return sent.status();
  auto received = pair_->Receive(Side::kOwner);
  if (!received.ok()) return received.status();
  if (received->status != IBV_WC_SUCCESS) return absl::UnavailableError("a SEND does not arrive");
  return static_cast<unsigned>(received->wc_flags);
}

absl::StatusOr<bool> Trial::Reaches(ibv_wr_opcode opcode, size_t offset, uint32_t rkey) {
  std::fill(memory_.begin(), memory_.end(), kBefore);
  ibv_sge sge;
  ibv_send_wr access = Access(opcode, offset, rkey, sge);
  auto done = pair_->Post(Side::kPeer, access);
  if (!done.ok()) return done.status();
  const bool untouched =
      std::all_of(memory_.begin(), memory_.end(), [](std::byte b) { return b == kBefore; });
  return done->status == IBV_WC_SUCCESS || !untouched;
}

absl::StatusOr<bool> Trial::RepeatsBinds() {
  ibv_sge refused_sge, next_sge;
  ibv_send_wr next = pair_->Message(Side::kOwner, next_sge);
  ibv_send_wr bind = BindRequest(Binding(), 0, &next);
  ibv_send_wr refused = pair_->Message(Side::kOwner, refused_sge);
  refused.send_flags = 0;
  refused.next = &bind;
  absl::Status status = pair_->Submit(Side::kOwner, refused);
  if (!status.ok()) return status;
  (void)nanosleep(&kRefusalTime, nullptr);
  status = pair_->PostReceives(Side::kPeer);
  if (!status.ok()) return status;
  auto sent = pair_->Completed(Side::kOwner, clock_.Now() + kRetryTime);
  if (absl::IsDeadlineExceeded(sent.status())) return true;
  if (!sent.ok()) return sent.status();
  return sent->status != IBV_WC_SUCCESS;
}

ibv_send_wr Trial::Access(ibv_wr_opcode opcode, size_t offset, uint32_t rkey, ibv_sge& sge) {
  sge = {.addr = reinterpret_cast<uintptr_t>(peers_.data()),
         .length = kWindowBytes,
         .lkey = peers_region_->lkey};
  ibv_send_wr wr{};
  wr.opcode = opcode;
  wr.send_flags = IBV_SEND_SIGNALED;
  wr.sg_list = &sge;
  wr.num_sge = 1;
  wr.wr.rdma.remote_addr = reinterpret_cast<uintptr_t>(&memory_[offset]);
  wr.wr.rdma.rkey = rkey;
  return wr;
}

// What is refused ends the connection: each access that must not work takes a pair of its own.
absl::StatusOr<bool> ReachesAnew(Trial& trial, ibv_wr_opcode opcode, size_t offset,
                                 bool by_region = false) {
  absl::Status status = trial.Begin();
  if (status.ok()) status = trial.Expose();
  if (!status.ok()) return status;
  return trial.Reaches(opcode, offset, by_region ? trial.region_rkey() : trial.window_rkey());
}

// What a user has to know of windows that work.
std::vector<std::string> Limits(const WindowSupport& support) {
  std::vector<std::string> limits;
  if (!support.keeps_range) {
    limits.push_back(
        "the device does not keep accesses to their range: a call's reach ends with its reply, "
        "but is the whole registration in its direction");
  }
  if (support.repeats_binds) {
    limits.push_back(
        "a retransmission repeats their binding: a call that exposes memory waits until what was "
        "sent before it is acknowledged");
  }
  return limits;
}

absl::Status TryAll(rdma_cm_id& id, ibv_pd& domain, const Clock& clock, WindowSupport& support) {
  const Nanoseconds deadline = clock.Now() + kWindowTrialTime;
  Trial use(id, domain, clock, deadline), direction(id, domain, clock, deadline),
      region(id, domain, clock, deadline), range(id, domain, clock, deadline),
      retry(id, domain, clock, deadline);
  absl::Status status = use.Begin();
  for (int i = 0; i < 2 && status.ok(); ++i) {
    status = use.Expose();
    if (status.ok()) status = use.UseAndInvalidate(support.invalidated_flag);
  }
  if (!status.ok()) return status;
  auto reached = use.Reaches(IBV_WR_RDMA_WRITE, kWindowBegin, use.window_rkey());
  if (!reached.ok()) return reached.status();
  if (*reached)
    return absl::UnavailableError("one that was invalidated can still be written through");
  reached = ReachesAnew(direction, IBV_WR_RDMA_READ, kWindowBegin);
  if (!reached.ok()) return reached.status();
  if (*reached) return absl::UnavailableError("one for writing can be read through");
  reached = ReachesAnew(region, IBV_WR_RDMA_WRITE, kWindowBegin, /*by_region=*/true);
  if (!reached.ok()) return reached.status();
  if (*reached) return absl::UnavailableError("the memory below one can be written without it");
  reached = ReachesAnew(range, IBV_WR_RDMA_WRITE, kWindowBegin + kWindowBytes / 2);
  if (!reached.ok()) return reached.status();
  support.keeps_range = !*reached;
  status = retry.Begin(TrialPair::Room::kOwnersOnly);
  if (!status.ok()) return status;
  auto repeats = retry.RepeatsBinds();
  if (repeats.ok()) support.repeats_binds = *repeats;
  return repeats.status();
}

}  // namespace

WindowSupport TryWindows(rdma_cm_id& id, const Clock& clock) {
  WindowSupport support;
  const DomainPtr domain(ibv_alloc_pd(id.verbs));
  const absl::Status status = domain != nullptr ? TryAll(id, *domain, clock, support)
                                                : absl::UnavailableError("no protection domain");
  support.fault = std::string(status.message());
  return support;
}

WindowSupport WindowTrials::Of(rdma_cm_id& id) {
  const std::string device = ibv_get_device_name(id.verbs->device);
  absl::MutexLock lock(&mutex_);
  auto found = by_device_.find(device);
  if (found != by_device_.end()) return found->second;
  const WindowSupport support = TryWindows(id, clock_);
  if (!support.ok()) {
    Log(LogLevel::kNotice, "rdma: ", device, ": memory windows cannot be used (", support.fault,
        "): memory is exposed by registrations, as with mr=cache");
  } else if (!support.keeps_range || support.repeats_binds) {
    Log(LogLevel::kNotice, "rdma: ", device, ": memory windows work, but ",
        absl::StrJoin(Limits(support), "; "));
  }
  // A device that is being removed says nothing about what it, or its successor, can do.
  if (!DeviceWatch::IsGone(id.verbs->cmd_fd)) by_device_[device] = support;
  return support;
}

std::string WindowTrials::RefusalOf(const std::string& peer) const {
  absl::MutexLock lock(&mutex_);
  auto found = refusals_.find(peer);
  return found == refusals_.end() ? "" : found->second;
}

void WindowTrials::Refused(const std::string& peer, const std::string& why) {
  absl::MutexLock lock(&mutex_);
  if (refusals_.size() >= kMaxRefusals || !refusals_.emplace(peer, why).second) return;
  Log(LogLevel::kNotice, "rdma: ", peer, ": ", why,
      ": memory is exposed by registrations, as with mr=cache");
}

}  // namespace rdmafs::rdma
