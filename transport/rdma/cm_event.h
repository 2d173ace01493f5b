// CmEvent: what rdma_cm reports, copied and acknowledged at once.
#pragma once

#include <rdma/rdma_cma.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

struct CmEvent {
  rdma_cm_event_type type{};
  int status = 0;            // of rdma_get_cm_event(3)
  rdma_cm_id* id = nullptr;  // CONNECT_REQUEST: a new one, for the receiver to own
  uint8_t responder_resources = 0, initiator_depth = 0;
  std::array<std::byte, 256> bytes;
  size_t size_bytes = 0;

  absl::Span<const std::byte> private_data() const { return {bytes.data(), size_bytes}; }
  const char* name() const { return rdma_event_str(type); }
};

// A channel whose descriptor does not block; an error says what is missing.
absl::Status OpenEventChannel(EventChannelPtr& channel);
// The next event, if there is one. An event must not stay unacknowledged while its id is destroyed
// or moved to another channel: both wait for that.
std::optional<CmEvent> NextCmEvent(rdma_event_channel& channel);
// What a connection to `peer` that met this event died of, or why it was not made.
absl::Status ReasonOf(const CmEvent& event, const std::string& peer);

}  // namespace rdmafs::rdma
