// Finds the control sockets of this host and asks them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/base/clock.h"

namespace rdmafs {

// The sockets in `directories`, in the order of their names; a missing directory has none. At most
// 4,096. Blocks on the file system.
std::vector<std::string> FindControlSockets(const std::vector<std::string>& directories);

// /run/rdmafs, and $XDG_RUNTIME_DIR/rdmafs where that is set.
std::vector<std::string> ControlDirectories();

// Sends `command` to the socket at `path` and returns the answer (at most 16 MiB). Blocks for
// `patience` at most. kNotFound: nobody listens there; kDeadlineExceeded: no answer in time.
absl::StatusOr<std::string> AskControlSocket(const std::string& path, const std::string& command,
                                             Nanoseconds patience);

}  // namespace rdmafs
