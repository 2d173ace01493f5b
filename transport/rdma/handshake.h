// What both ends tell each other in the private data of rdma_cm's REQ, REP and REJ.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "transport/wire/header.h"

namespace rdmafs::rdma {

// In REQ (what the client wishes) and REP (what holds). InfiniBand leaves 56 bytes in a REQ, and
// pads what is shorter.
struct Hello {
  uint32_t magic = wire::kMagic;
  uint16_t version = wire::kVersion;
  uint16_t credits = 0;
  uint32_t max_message_bytes = wire::kMaxMessageBytes;
  uint32_t max_payload_bytes = wire::kMaxPayloadBytes;
  uint32_t flags = 0;
};
// In REQ: calls are exposed by memory windows, if the server does what the flag says. In REP:
// replies to calls that expose memory invalidate their rkeys. Other flags mean nothing.
inline constexpr uint32_t kHelloInvalidates = 1;
inline constexpr size_t kLeastHelloBytes = offsetof(Hello, flags);  // without them there are none
static_assert(sizeof(Hello) == 20 && std::has_unique_object_representations_v<Hello>);

enum class Refusal : uint16_t {
  kMalformed = 1,
  kVersion = 2,
  kCredits = 3,
  kNoMemory = 4,
  kTooMany = 5
};

// In REJ.
struct Rejection {
  uint32_t magic = wire::kMagic;
  uint16_t version = wire::kVersion;
  uint16_t refusal = 0;  // Refusal
};
static_assert(sizeof(Rejection) == 8 && std::has_unique_object_representations_v<Rejection>);

// The credits that a Hello in `private_data` names, or why it cannot be accepted. It may come from
// anyone: nothing in it is believed before it was checked.
struct HelloOrRefusal {
  uint16_t credits = 0;  // 1 to kMaxCredits, when `refusal` is none
  Refusal refusal{};
  bool invalidates = false;
  bool ok() const { return refusal == Refusal{}; }
};
HelloOrRefusal ReadHello(absl::Span<const std::byte> private_data);

// Why the peer rejected us, for a person.
std::string DescribeRejection(absl::Span<const std::byte> private_data);
const char* RefusalText(Refusal refusal);

}  // namespace rdmafs::rdma
