// ServerConfiguration: what the command line of rdmafsd says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "transport/base/log.h"

namespace rdmafs::server {

enum class TransportChoice { kAuto, kTcp, kRdma };
enum class TlsChoice { kOff, kAccepted, kRequired };

struct ServerConfiguration {
  bool foreground = false;
  bool show_help = false;
  bool show_version = false;
  std::vector<std::string> directories;  // empty: what exports_file lists
  std::string export_options;            // of the directories: "ro,no_root_squash"
  std::vector<std::string> clients;  // of the directories, besides loopback: networks, addresses

  std::vector<std::string> listen;  // empty: all addresses
  uint16_t port = 20490;            // 0: any free one
  TransportChoice transport = TransportChoice::kAuto;
  int shards = 0;   // 0: one for each core
  int workers = 0;  // 0: two for each core, at least 4
  size_t pool_bytes = size_t{256} << 20;
  bool io_uring = true;
  int lease_s = 60;             // how long a session is kept for a client that is away
  std::string state_directory;  // "": /var/lib/rdmafs for root, none for others
  std::string exports_file = "/etc/rdmafs/exports";
  std::string key_file;  // for what is exported with sec=psk; "": auth::kDefaultKeyFile
  TlsChoice tls = TlsChoice::kOff;
  std::string certificate_file, private_key_file;  // PEM; "": clients come to TLS with their keys
  std::string ca_file;  // whose certificates clients must show that come without a key; "": none
  std::string run_directory;  // "": control_path.h's
  LogLevel log_level = LogLevel::kNotice;
};

// `arguments` without the program's name. The status is one line for the user.
absl::StatusOr<ServerConfiguration> ParseOptions(absl::Span<const std::string> arguments);

std::string_view UsageText();

}  // namespace rdmafs::server
