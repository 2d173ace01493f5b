// Capabilities: the server gives up every right that serving does not need.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace rdmafs::server {

struct CapabilityNeeds {
  bool low_port = false;       // listens below 1024
  bool locked_memory = false;  // registers memory with an RDMA device, beyond RLIMIT_MEMLOCK
};

// The set of capabilities(7) that a server with these needs may use, as bits; docs/security.md has
// the reasons.
uint64_t NeededCapabilities(const CapabilityNeeds& needs);

// Takes all others out of the calling thread's sets and the bounding set, for good, and sees to it
// that no program which this process starts gets any back (PR_SET_NO_NEW_PRIVS). A process that has
// none keeps none. Before the first thread, and before ThreadCredentials is asked for anything: it
// takes what there is for the server's.
absl::Status DropUnneededCapabilities(const CapabilityNeeds& needs);

}  // namespace rdmafs::server
