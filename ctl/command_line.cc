#include "ctl/command_line.h"

#include <getopt.h>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

enum Option { kJson = 256, kServer, kRdma, kRoot };

constexpr option kOptions[] = {
    {"json", no_argument, nullptr, kJson},   {"server", no_argument, nullptr, kServer},
    {"rdma", no_argument, nullptr, kRdma},   {"root", required_argument, nullptr, kRoot},
    {"help", no_argument, nullptr, 'h'},     {"version", no_argument, nullptr, 'V'},
    {nullptr, 0, nullptr, 0},
};

absl::Status Wrong(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; see rdmafsctl --help"));
}

absl::Status SetAction(const std::string& word, CommandLine& line) {
  using Action = CommandLine::Action;
  if (word == "status") {
    line.action = Action::kStatus;
  } else if (word == "stats") {
    line.action = Action::kStatistics;
  } else if (word == "doctor") {
    line.action = Action::kDoctor;
  } else {
    return Wrong(absl::StrCat("unknown command \"", word, "\""));
  }
  return absl::OkStatus();
}

// Options belong to one command each; an option that does nothing would mislead.
absl::Status CheckTogether(const CommandLine& line) {
  const bool doctor = line.action == CommandLine::Action::kDoctor;
  if (doctor && (line.server || !line.target.empty())) {
    return Wrong("doctor looks at this host and takes no target");
  }
  if (!doctor && (line.require_rdma || !line.root.empty()))
    return Wrong("--rdma belongs to doctor");
  if (line.server && !line.target.empty()) return Wrong("give either --server or a target");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv) {
  CommandLine line;
  optind = 0;  // glibc: begin anew, also when a test calls this twice
  opterr = 0;
  for (int c; (c = ::getopt_long(argc, argv, "hV", kOptions, nullptr)) != -1;) {
    switch (c) {
      case kJson: line.json = true; break;
      case kServer: line.server = true; break;
      case kRdma: line.require_rdma = true; break;
      case kRoot: line.root = optarg; break;
      case 'h': return CommandLine{};
      case 'V': return CommandLine{.action = CommandLine::Action::kVersion};
      default: return Wrong(absl::StrCat("unknown option or missing value: ", argv[optind - 1]));
    }
  }
  if (optind == argc) return Wrong("a command is missing");
  if (absl::Status status = SetAction(argv[optind++], line); !status.ok()) return status;
  if (optind < argc) line.target = argv[optind++];
  if (optind < argc) return Wrong(absl::StrCat("too many arguments: ", argv[optind]));
  if (absl::Status status = CheckTogether(line); !status.ok()) return status;
  return line;
}

const char kHelpText[] =
    "Usage: rdmafsctl status [--json] [--server | MOUNTPOINT | SOCKET]\n"
    "       rdmafsctl stats  [--json] [--server | MOUNTPOINT | SOCKET]\n"
    "       rdmafsctl doctor [--json] [--rdma]\n"
    "\n"
    "status  what the mounts and servers of this host are doing, and how they are connected\n"
    "stats   what they counted: operations with latencies, memory, traffic\n"
    "doctor  what this host lacks to mount and to serve, and how to get it\n"
    "\n"
    "      --json     print JSON: one document for a target, else a list of them\n"
    "      --server   only the servers (rdmafsd) of this host\n"
    "      --rdma     doctor: count it as missing when there is no usable RDMA device\n"
    "  -h, --help     print this text\n"
    "  -V, --version  print the version\n"
    "\n"
    "Exit status: 0 fine; 1 something is missing, or a program did not answer; 2 wrong usage.\n";

}  // namespace rdmafs
