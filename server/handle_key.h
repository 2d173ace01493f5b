// HandleKey: the secret that file handles are signed with, and the file that keeps it.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace rdmafs {

using HandleKey = std::array<uint8_t, 32>;

// The key in `directory`/handle.key; makes both (0700, 0600) with fresh randomness when there is
// none, so that handles outlive a restart of the server. Refuses a key that others may read or that
// is cut short. Blocks; call it at start.
absl::StatusOr<HandleKey> LoadOrCreateHandleKey(const std::string& directory);

// A key for as long as the process lives.
HandleKey RandomHandleKey();

}  // namespace rdmafs
