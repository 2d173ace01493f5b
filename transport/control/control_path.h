// Where the control sockets of mounts and servers are.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace rdmafs {

inline constexpr std::string_view kSystemRunDirectory = "/run/rdmafs";

// The directory of this user's sockets: /run/rdmafs for root, $XDG_RUNTIME_DIR/rdmafs for others,
// "" where there is neither. Reads the environment; call it before threads exist.
std::string RunDirectory();

// The path of the control socket of this process, "DIRECTORY/PROGRAM.PID", with the directory made
// (0755) if need be. An empty `directory` stands for RunDirectory(). Blocks on the file system.
absl::StatusOr<std::string> MakeControlPath(std::string directory, std::string_view program);

}  // namespace rdmafs
