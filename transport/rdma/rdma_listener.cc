#include "transport/rdma/rdma_listener.h"

#include <sys/epoll.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/base/log.h"
#include "transport/base/socket_address.h"
#include "transport/rdma/rdma_connection.h"

namespace rdmafs::rdma {
namespace {

// Connection requests that rdma_cm keeps for us, and handshakes under way.
constexpr int kBacklog = 128;
constexpr size_t kMaxPending = 256;
constexpr uint8_t kRnrRetryCount = 7;
// How often to look whether a device has an address again that was lost with another.
constexpr Nanoseconds kListenAgainEvery = kSecond;

std::string PeerOf(rdma_cm_id& id) { return SocketAddress(rdma_get_peer_addr(&id)).ToString(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> RdmaListener::Create(
    const Endpoint& endpoint, const ConnectionOptions& options, EventLoop& loop,
    Transport::AcceptFunction accept, const TransportResources& resources,
    std::shared_ptr<ProtectionDomains> domains, std::shared_ptr<WindowTrials> trials) {
  std::unique_ptr<RdmaListener> listener(new RdmaListener(
      options, loop, std::move(accept), resources, std::move(domains), std::move(trials)));
  absl::Status status = listener->Bind(endpoint);
  if (!status.ok()) return status;
  return listener;
}

RdmaListener::RdmaListener(const ConnectionOptions& options, EventLoop& loop,
                           Transport::AcceptFunction accept, const TransportResources& resources,
                           std::shared_ptr<ProtectionDomains> domains,
                           std::shared_ptr<WindowTrials> trials)
    : options_(options),
      loop_(loop),
      accept_(std::move(accept)),
      resources_(resources),
      domains_(std::move(domains)),
      trials_(std::move(trials)) {}

RdmaListener::~RdmaListener() {
  if (channel_ != nullptr) loop_.Remove(channel_->fd);
  loop_.Cancel(again_timer_);
  for (auto& [id, pending] : pending_) {
    loop_.Cancel(pending.timer);
    loop_.Remove(pending.queue_pair->cq().fd());
  }
}

absl::Status RdmaListener::Bind(const Endpoint& endpoint) {
  auto addresses = SocketAddress::Resolve(endpoint.host, endpoint.port, options_.timeout);
  if (!addresses.ok()) return addresses.status();
  absl::Status status = OpenEventChannel(channel_);
  if (!status.ok()) return status;
  for (const SocketAddress& address : *addresses) {
    Place place{address, nullptr};
    if (port_ != 0) place.address.set_port(port_);
    status = BindTo(place);
    if (!status.ok()) continue;
    if (places_.empty()) address_ = SocketAddress(rdma_get_local_addr(place.id.get())).host();
    port_ = ntohs(rdma_get_src_port(place.id.get()));
    place.address.set_port(port_);
    places_.push_back(std::move(place));
    if (!endpoint.host.empty()) break;
  }
  if (places_.empty()) return status;
  const Errno added = loop_.Add(channel_->fd, EPOLLIN, [this](uint32_t) { OnEvents(); });
  if (!added.ok()) return absl::InternalError("the event loop takes no more descriptors");
  return absl::OkStatus();
}

absl::Status RdmaListener::BindTo(Place& place) {
  rdma_cm_id* raw = nullptr;
  if (rdma_create_id(channel_.get(), &raw, nullptr, RDMA_PS_TCP) != 0) {
    return absl::UnavailableError(absl::StrCat("rdma_create_id: ", Errno(errno).ToString()));
  }
  CmIdPtr id(raw);
  int yes = 1;
  // A server that starts again finds its port in time-wait.
  (void)rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR, &yes, sizeof yes);
  // An IPv6 listener does not take IPv4 as well: Soft-iWARP resets such connections.
  (void)rdma_set_option(raw, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY, &yes, sizeof yes);
  const bool bound = rdma_bind_addr(raw, const_cast<sockaddr*>(place.address.get())) == 0;
  const bool listens = bound && rdma_listen(raw, kBacklog) == 0;
  const Errno error(listens ? 0 : errno);
  if (raw->verbs != nullptr) domains_->devices().Know(*raw->verbs);
  if (!listens) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", place.address.ToString(), ": ", error.ToString()));
  }
  place.id = std::move(id);
  return absl::OkStatus();
}

void RdmaListener::OnEvents() {
  while (auto event = NextCmEvent(*channel_)) {
    if (event->type == RDMA_CM_EVENT_DEVICE_REMOVAL && event->id->verbs != nullptr) {
      domains_->Forget(event->id->verbs);
    }
    if (event->type == RDMA_CM_EVENT_CONNECT_REQUEST) {
      OnRequest(*event);
    } else if (event->type == RDMA_CM_EVENT_ESTABLISHED) {
      OnEstablished(event->id);
    } else if (auto found = pending_.find(event->id); found != pending_.end()) {
      DropPending(event->id, ReasonOf(*event, found->second.peer));
    } else if (auto place = std::find_if(places_.begin(), places_.end(),
                                         [&](const Place& p) { return p.id.get() == event->id; });
               place != places_.end()) {
      OnPlaceLost(*place, *event);
    } else {
      Log(LogLevel::kError, "rdma: listener: ", event->name(), " (", event->status, ")");
    }
  }
}

// A listener on one address belongs to the device that has it, and ends with that. (One on all
// addresses belongs to none: the kernel lets it listen on the devices that come.)
void RdmaListener::OnPlaceLost(Place& place, const CmEvent& event) {
  Log(LogLevel::kWarning, "rdma: ", place.address.ToString(), ": listens no more (", event.name(),
      "), until a device has this address again");
  place.id.reset();
  if (again_timer_ == 0) again_timer_ = loop_.After(kListenAgainEvery, [this] { ListenAgain(); });
}

void RdmaListener::ListenAgain() {
  again_timer_ = 0;
  bool all = true;
  for (Place& place : places_) {
    if (place.id != nullptr) continue;
    if (BindTo(place).ok()) {
      Log(LogLevel::kNotice, "rdma: ", place.address.ToString(), ": listens again");
    } else {
      all = false;
    }
  }
  if (!all) again_timer_ = loop_.After(kListenAgainEvery, [this] { ListenAgain(); });
}

void RdmaListener::OnRequest(const CmEvent& event) {
  CmIdPtr id(event.id);
  domains_->devices().Know(*id->verbs);
  const HelloOrRefusal hello = ReadHello(event.private_data());
  if (!hello.ok()) return Refuse(*id, hello.refusal);
  if (pending_.size() >= kMaxPending) return Refuse(*id, Refusal::kTooMany);
  // That this device can do both ends of it says that it can do ours.
  const bool invalidates = hello.invalidates && CanInvalidate(*id);
  const Hello answer{.credits = std::min(hello.credits, options_.credits),
                     .flags = invalidates ? kHelloInvalidates : 0};
  auto answered = Answer(id, answer, event);
  if (!answered.ok()) {
    Log(LogLevel::kWarning, "rdma: ", PeerOf(*id), ": ", answered.status().message());
    return Refuse(*id, Refusal::kNoMemory);
  }
  rdma_cm_id* key = event.id;
  answered->timer = loop_.After(options_.timeout, [this, key] {
    DropPending(key, absl::UnavailableError("no answer to our acceptance"));
  });
  answered->removal = std::make_unique<RemovalNotice>(
      domains_->devices().watch(), answered->id->verbs->cmd_fd, loop_, [this, key] {
        DropPending(key, absl::UnavailableError("the RDMA device was removed"));
      });
  // The client's first message may overtake its word that it is established.
  answered->queue_pair->cq().Arm();
  (void)loop_.Add(answered->queue_pair->cq().fd(), EPOLLIN,
                  [this, key](uint32_t) { OnEarlyMessage(key); });
  pending_.emplace(key, *std::move(answered));
}

bool RdmaListener::CanInvalidate(rdma_cm_id& id) {
  const std::shared_ptr<ibv_context> use = domains_->devices().Use(*id.verbs);
  return use != nullptr && trials_->Of(id).ok();
}

absl::StatusOr<RdmaListener::Pending> RdmaListener::Answer(CmIdPtr& id, const Hello& answer,
                                                           const CmEvent& event) {
  auto domain = domains_->ForConnection(id->verbs, MemoryExposure::kCache);
  if (!domain.ok()) return domain.status();
  auto made = QueuePair::Create(*id, *std::move(domain), resources_.messages,
                                {.credits = answer.credits, .server = true});
  if (!made.ok()) return made.status();
  rdma_conn_param parameters{};
  parameters.private_data = &answer;
  parameters.private_data_len = sizeof answer;
  parameters.responder_resources = 0;  // nobody reads from a server
  parameters.initiator_depth = std::min((*made)->max_initiator_depth(), event.initiator_depth);
  parameters.rnr_retry_count = kRnrRetryCount;
  if (rdma_accept(id.get(), &parameters) != 0) {
    return absl::UnavailableError(absl::StrCat("rdma_accept: ", Errno(errno).ToString()));
  }
  (*made)->Open(std::max<uint8_t>(1, parameters.initiator_depth));
  std::string peer = PeerOf(*id);
  return Pending{.id = std::move(id),
                 .queue_pair = *std::move(made),
                 .credits = answer.credits,
                 .invalidates = (answer.flags & kHelloInvalidates) != 0,
                 .peer = peer};
}

void RdmaListener::Refuse(rdma_cm_id& id, Refusal refusal) {
  Log(LogLevel::kWarning, "rdma: ", PeerOf(id), ": refused: ", RefusalText(refusal));
  const Rejection rejection{.refusal = static_cast<uint16_t>(refusal)};
  (void)rdma_reject(&id, &rejection, sizeof rejection);
}

void RdmaListener::OnEarlyMessage(rdma_cm_id* id) {
  auto found = pending_.find(id);
  if (found == pending_.end()) return;
  CompletionQueue& cq = found->second.queue_pair->cq();
  cq.TakeEvent();
  loop_.Remove(cq.fd());
  // The RTU got lost: the message proves what it would have said. (On iWARP this never happens.)
  (void)rdma_notify(id, IBV_EVENT_COMM_EST);
}

void RdmaListener::OnEstablished(rdma_cm_id* id) {
  auto found = pending_.find(id);
  if (found == pending_.end()) return;
  Pending pending = std::move(found->second);
  pending_.erase(found);
  loop_.Cancel(pending.timer);
  loop_.Remove(pending.queue_pair->cq().fd());
  EventChannelPtr own;
  absl::Status status = OpenEventChannel(own);
  if (!status.ok() || rdma_migrate_id(id, own.get()) != 0) {
    Log(LogLevel::kWarning, "rdma: ", pending.peer,
        ": no event channel: ", Errno(errno).ToString());
    return;
  }
  accept_(std::make_unique<RdmaConnection>(
      RdmaConnection::Parts{.channel = std::move(own),
                            .id = std::move(pending.id),
                            .queue_pair = std::move(pending.queue_pair),
                            .domains = domains_,
                            .server = true,
                            .credits = pending.credits,
                            .invalidates = pending.invalidates}));
}

void RdmaListener::DropPending(rdma_cm_id* id, const absl::Status& reason) {
  auto found = pending_.find(id);
  if (found == pending_.end()) return;
  Log(LogLevel::kNotice, "rdma: ", found->second.peer, ": not established: ", reason.message());
  loop_.Cancel(found->second.timer);
  loop_.Remove(found->second.queue_pair->cq().fd());
  pending_.erase(found);
}

}  // namespace rdmafs::rdma
