#include "transport/rdma/connector.h"

#include <poll.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/rdma/cm_event.h"
#include "transport/rdma/handshake.h"
#include "transport/rdma/rdma_connection.h"
#include "transport/rdma/undisturbed_connect.h"

namespace rdmafs::rdma {
namespace {

// Retries of what the device sends, at most; RNR 7 is for ever: credits bound it.
constexpr uint8_t kRetryCount = 7, kRnrRetryCount = 7;
// How often an attempt looks whether its device is being removed, which waits for it.
constexpr int kLookForRemovalMs = 200;

// One attempt. Owned by one thread.
class Attempt {
 public:
  Attempt(const SocketAddress& address, const ConnectWish& wish, Nanoseconds deadline,
          const TransportResources& resources, WindowTrials& trials, AbandonedAttempts& abandoned)
      : address_(address),
        peer_(address.ToString()),
        wish_(wish),
        deadline_(deadline),
        resources_(resources),
        trials_(trials),
        abandoned_(abandoned) {}

  absl::StatusOr<std::unique_ptr<Connection>> Run(
      const std::shared_ptr<ProtectionDomains>& domains);

 private:
  absl::Status Begin();
  absl::Status Resolve(OpenDevices& devices);
  absl::Status TryWindows(OpenDevices& devices);
  absl::Status MakeQueuePair(const std::shared_ptr<ProtectionDomains>& domains);
  absl::StatusOr<uint16_t> Establish();
  std::string Exposure() const;
  bool windows() const { return wish_.exposure == MemoryExposure::kWindow; }
  absl::StatusOr<CmEvent> Await(rdma_cm_event_type wanted, const char* doing);
  absl::Status Failed(const char* what) const;
  int LeftMilliseconds() const;

  const SocketAddress& address_;
  const std::string peer_;
  const ConnectWish& wish_;
  const Nanoseconds deadline_;
  const TransportResources& resources_;
  WindowTrials& trials_;
  AbandonedAttempts& abandoned_;
  WindowSupport support_;
  EventChannelPtr channel_;
  CmIdPtr id_;
  std::unique_ptr<QueuePair> queue_pair_;
};

absl::StatusOr<std::unique_ptr<Connection>> Attempt::Run(
    const std::shared_ptr<ProtectionDomains>& domains) {
  absl::Status status = Begin();
  if (status.ok()) status = Resolve(domains->devices());
  if (status.ok() && windows()) status = TryWindows(domains->devices());
  if (status.ok()) status = MakeQueuePair(domains);
  auto agreed = status.ok() ? Establish() : absl::StatusOr<uint16_t>(status);
  // The registrations for windows are of no use to anyone who goes on without.
  if (absl::IsFailedPrecondition(agreed.status())) domains->Drop(id_->verbs, wish_.exposure);
  if (!agreed.ok()) return agreed.status();
  queue_pair_->Open(1);  // a client reads nothing
  std::string exposure = Exposure();
  return std::make_unique<RdmaConnection>(
      RdmaConnection::Parts{.channel = std::move(channel_),
                            .id = std::move(id_),
                            .queue_pair = std::move(queue_pair_),
                            .domains = domains,
                            .server = false,
                            .credits = *agreed,
                            .exposure = std::move(exposure),
                            .invalidated_flag = support_.invalidated_flag});
}

std::string Attempt::Exposure() const {
  if (!windows())
    return wish_.why_cache.empty() ? "cache" : absl::StrCat("cache: ", wish_.why_cache);
  if (support_.keeps_range) return "window";
  return absl::StrCat("window: ", ibv_get_device_name(id_->verbs->device),
                      " does not keep accesses to a window's range");
}

absl::Status Attempt::Begin() {
  absl::Status status = OpenEventChannel(channel_);
  if (!status.ok()) return status;
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0)
    return Failed("rdma_create_id");
  id_.reset(id);
  return absl::OkStatus();
}

absl::Status Attempt::Resolve(OpenDevices& devices) {
  if (rdma_resolve_addr(id_.get(), nullptr, const_cast<sockaddr*>(address_.get()),
                        LeftMilliseconds()) != 0) {
    return Failed("no RDMA device leads to this address");
  }
  auto event = Await(RDMA_CM_EVENT_ADDR_RESOLVED, "the address was resolved");
  if (!event.ok()) return event.status();
  if (id_->verbs != nullptr) devices.Know(*id_->verbs);
  if (rdma_resolve_route(id_.get(), LeftMilliseconds()) != 0) return Failed("no route");
  event = Await(RDMA_CM_EVENT_ROUTE_RESOLVED, "a route was found");
  if (event.ok() && id_->verbs == nullptr)
    return absl::UnavailableError(absl::StrCat(peer_, ": not behind an RDMA device"));
  return event.status();
}

absl::Status Attempt::TryWindows(OpenDevices& devices) {
  std::string why = trials_.RefusalOf(peer_);
  if (!why.empty()) return absl::FailedPreconditionError(why);
  const std::shared_ptr<ibv_context> use = devices.Use(*id_->verbs);
  if (use == nullptr) return absl::UnavailableError("the RDMA device is being removed");
  support_ = trials_.Of(*id_);
  if (support_.ok()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(ibv_get_device_name(id_->verbs->device), ": ", support_.fault));
}

absl::Status Attempt::MakeQueuePair(const std::shared_ptr<ProtectionDomains>& domains) {
  auto domain = domains->ForConnection(id_->verbs, wish_.exposure);
  if (!domain.ok()) return domain.status();
  auto made = QueuePair::Create(*id_, *std::move(domain), resources_.messages,
                                {.credits = wish_.credits,
                                 .windows = windows(),
                                 .repeats_binds = support_.repeats_binds});
  if (absl::IsFailedPrecondition(made.status()))
    trials_.Refused(peer_, std::string(made.status().message()));
  if (!made.ok()) return made.status();
  queue_pair_ = *std::move(made);
  return absl::OkStatus();
}

absl::StatusOr<uint16_t> Attempt::Establish() {
  const Hello hello{.credits = wish_.credits, .flags = windows() ? kHelloInvalidates : 0};
  rdma_conn_param parameters{};
  parameters.private_data = &hello;
  parameters.private_data_len = sizeof hello;
  parameters.responder_resources = queue_pair_->max_responder_resources();
  parameters.initiator_depth = 0;  // only the server reads
  parameters.retry_count = kRetryCount;
  parameters.rnr_retry_count = kRnrRetryCount;
  if (ConnectUndisturbed(id_.get(), &parameters) != 0) return Failed("rdma_connect");
  auto event = Await(RDMA_CM_EVENT_ESTABLISHED, "the server answered");
  if (absl::IsDeadlineExceeded(event.status()) || DeviceWatch::IsGone(id_->verbs->cmd_fd)) {
    abandoned_.Add({std::move(channel_), std::move(id_), std::move(queue_pair_)});
  }
  if (!event.ok()) return event.status();
  const HelloOrRefusal answer = ReadHello(event->private_data());
  if (!answer.ok() || answer.credits > wish_.credits) {
    return absl::InvalidArgumentError(
        absl::StrCat(peer_, ": the server's answer is not one of rdmafs: ",
                     RefusalText(answer.ok() ? Refusal::kCredits : answer.refusal)));
  }
  if (windows() && !answer.invalidates) {
    trials_.Refused(peer_, "the server's replies do not invalidate memory windows");
    return absl::FailedPreconditionError(trials_.RefusalOf(peer_));
  }
  return answer.credits;
}

absl::StatusOr<CmEvent> Attempt::Await(rdma_cm_event_type wanted, const char* doing) {
  while (true) {
    if (auto event = NextCmEvent(*channel_)) {
      if (event->type == wanted) return *event;
      return ReasonOf(*event, peer_);
    }
    pollfd descriptor{.fd = channel_->fd, .events = POLLIN};
    const int left = LeftMilliseconds();
    if (left == 0) {
      return absl::DeadlineExceededError(absl::StrCat(peer_, ": timed out before ", doing));
    }
    (void)poll(&descriptor, 1, std::min(left, kLookForRemovalMs));
    if (id_->verbs != nullptr && DeviceWatch::IsGone(id_->verbs->cmd_fd)) {
      return absl::UnavailableError(absl::StrCat(peer_, ": the RDMA device was removed"));
    }
  }
}

absl::Status Attempt::Failed(const char* what) const {
  return absl::UnavailableError(absl::StrCat(peer_, ": ", what, ": ", Errno(errno).ToString()));
}

int Attempt::LeftMilliseconds() const {
  const Nanoseconds left = deadline_ - resources_.clock.Now();
  return static_cast<int>(
      std::clamp<Nanoseconds>((left + kMillisecond - 1) / kMillisecond, 0, 1 << 30));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> ConnectTo(
    const SocketAddress& address, const ConnectWish& wish, Nanoseconds deadline,
    const TransportResources& resources, const std::shared_ptr<ProtectionDomains>& domains,
    WindowTrials& trials, AbandonedAttempts& abandoned) {
  return Attempt(address, wish, deadline, resources, trials, abandoned).Run(domains);
}

}  // namespace rdmafs::rdma
