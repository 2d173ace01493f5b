// What a failed work completion says about a connection.
#pragma once

#include <infiniband/verbs.h>

#include <string>

#include "absl/status/status.h"

namespace rdmafs::rdma {

// With status, opcode and vendor code, for the log. kInvalidArgument when only a peer that breaks
// the protocol causes it, kInternal when only we do, else kUnavailable.
absl::Status ReasonOf(const ibv_wc& completion, const char* opcode, const std::string& peer);

}  // namespace rdmafs::rdma
