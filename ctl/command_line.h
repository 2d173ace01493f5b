// The command line of rdmafsctl.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace rdmafs {

struct CommandLine {
  enum class Action { kHelp, kVersion, kStatus, kStatistics, kDoctor };
  Action action = Action::kHelp;
  bool json = false;
  bool server = false;        // only rdmafsd
  bool require_rdma = false;  // doctor: a host without RDMA is not fine
  std::string target;         // mount point or socket; "" is all
  std::string root = "";      // doctor: where the host's files are looked for (tests)
};

// One clear line in the status when it cannot be understood.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv);

// The text of --help.
extern const char kHelpText[];

}  // namespace rdmafs
