// KeySource: where a client has its key from.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "transport/auth/handshake.h"

namespace rdmafs {

// Asked each time that a session is set up, so that a key which was changed is used for the next
// connection. May block. The status is one sentence for the user.
using KeySource = std::function<absl::StatusOr<auth::Key>()>;

// The key `name` of `file`, or its first one when `name` is "".
KeySource KeyOfFile(std::string file, std::string name);

}  // namespace rdmafs
