#include "transport/rdma/cm_event.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"
#include "transport/rdma/handshake.h"

namespace rdmafs::rdma {
namespace {

// ib_cm_rej_reason of the InfiniBand specification (12.6.7.2): nobody listens there.
constexpr int kRejectedInvalidServiceId = 8;
constexpr int kRejectedByConsumer = 28;

absl::Status Rejected(const CmEvent& event, const std::string& peer) {
  // iWARP reports a negative errno(3), InfiniBand the reason's number.
  if (event.status == kRejectedInvalidServiceId || event.status == -ECONNREFUSED) {
    return absl::UnavailableError(
        absl::StrCat(peer, ": connection refused: no server listens there"));
  }
  if (event.status == kRejectedByConsumer || !event.private_data().empty()) {
    return absl::UnavailableError(
        absl::StrCat(peer, ": the server refused: ", DescribeRejection(event.private_data())));
  }
  return absl::UnavailableError(
      absl::StrCat(peer, ": connection rejected (status ", event.status, ")"));
}

std::string ErrorText(int status) {
  return status < 0 ? Errno(-status).ToString() : absl::StrCat(status);
}

}  // namespace

absl::Status OpenEventChannel(EventChannelPtr& channel) {
  channel.reset(rdma_create_event_channel());
  if (channel == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot open /dev/infiniband/rdma_cm: ", Errno(errno).ToString()));
  }
  fcntl(channel->fd, F_SETFL, fcntl(channel->fd, F_GETFL) | O_NONBLOCK);
  return absl::OkStatus();
}

std::optional<CmEvent> NextCmEvent(rdma_event_channel& channel) {
  rdma_cm_event* raw = nullptr;
  if (rdma_get_cm_event(&channel, &raw) != 0) return std::nullopt;
  CmEvent event;
  event.type = raw->event;
  event.status = raw->status;
  event.id = raw->id;
  event.responder_resources = raw->param.conn.responder_resources;
  event.initiator_depth = raw->param.conn.initiator_depth;
  if (raw->param.conn.private_data != nullptr) {
    event.size_bytes = std::min<size_t>(raw->param.conn.private_data_len, event.bytes.size());
    std::memcpy(event.bytes.data(), raw->param.conn.private_data, event.size_bytes);
  }
  rdma_ack_cm_event(raw);
  return event;
}

absl::Status ReasonOf(const CmEvent& event, const std::string& peer) {
  switch (event.type) {
    case RDMA_CM_EVENT_ADDR_ERROR:
      return absl::UnavailableError(absl::StrCat(peer, ": no RDMA device leads to this address (",
                                                 ErrorText(event.status), ")"));
    case RDMA_CM_EVENT_ROUTE_ERROR:
      return absl::UnavailableError(
          absl::StrCat(peer, ": no route (", ErrorText(event.status), ")"));
    case RDMA_CM_EVENT_REJECTED:
      return Rejected(event, peer);
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_CONNECT_ERROR:
      return absl::UnavailableError(
          absl::StrCat(peer, ": cannot connect (", ErrorText(event.status), ")"));
    case RDMA_CM_EVENT_DISCONNECTED:
      return absl::UnavailableError(absl::StrCat(peer, ": the peer closed the connection"));
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      return absl::UnavailableError(absl::StrCat(peer, ": the RDMA device was removed"));
    case RDMA_CM_EVENT_ADDR_CHANGE:
      return absl::UnavailableError(absl::StrCat(peer, ": the RDMA device's address changed"));
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
      return absl::UnavailableError(absl::StrCat(peer, ": the connection had ended"));
    default:
      return absl::UnavailableError(
          absl::StrCat(peer, ": ", event.name(), " (", event.status, ")"));
  }
}

}  // namespace rdmafs::rdma
