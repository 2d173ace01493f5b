#include "transport/rdma/handshake.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace rdmafs::rdma {

HelloOrRefusal ReadHello(absl::Span<const std::byte> private_data) {
  Hello hello;
  if (private_data.size() < kLeastHelloBytes) return {.refusal = Refusal::kMalformed};
  std::memcpy(&hello, private_data.data(), std::min(private_data.size(), sizeof hello));
  if (hello.magic != wire::kMagic) return {.refusal = Refusal::kMalformed};
  if (hello.version != wire::kVersion) return {.refusal = Refusal::kVersion};
  if (hello.max_message_bytes != wire::kMaxMessageBytes ||
      hello.max_payload_bytes != wire::kMaxPayloadBytes) {
    return {.refusal = Refusal::kMalformed};
  }
  if (hello.credits == 0 || hello.credits > wire::kMaxCredits)
    return {.refusal = Refusal::kCredits};
  return {.credits = hello.credits, .invalidates = (hello.flags & kHelloInvalidates) != 0};
}

std::string DescribeRejection(absl::Span<const std::byte> private_data) {
  Rejection rejection;
  if (private_data.size() < sizeof rejection) return "it gave no reason; is it an rdmafs server?";
  std::memcpy(&rejection, private_data.data(), sizeof rejection);
  if (rejection.magic != wire::kMagic) return "it is not an rdmafs server";
  const auto refusal = static_cast<Refusal>(rejection.refusal);
  if (refusal == Refusal::kVersion) {
    return absl::StrCat("it speaks version ", rejection.version, " of the protocol, we speak ",
                        wire::kVersion);
  }
  return RefusalText(refusal);
}

const char* RefusalText(Refusal refusal) {
  switch (refusal) {
    case Refusal::kMalformed:
      return "the connection request is not one of rdmafs";
    case Refusal::kVersion:
      return "another version of the protocol";
    case Refusal::kCredits:
      return "a number of credits out of bounds";
    case Refusal::kNoMemory:
      return "no memory or no room on the device for one more connection";
    case Refusal::kTooMany:
      return "too many connections are being made";
  }
  return "an unknown reason";
}

}  // namespace rdmafs::rdma
