// MountOptions: the command line of rdmafs.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/connector.h"
#include "client/read_ahead_options.h"
#include "client/tls_options.h"
#include "fuse/settings.h"
#include "transport/base/log.h"

namespace rdmafs::fuse {

struct MountOptions {
  std::string source;              // "HOST[,HOST...]:DIR" as it was given
  std::vector<std::string> hosts;  // names or numeric addresses, without brackets
  std::string directory;           // absolute
  std::string mount_point;

  bool help = false, version = false;
  bool foreground = false;
  bool debug = false;
  bool read_only = false;
  bool sync = false;  // every write is on the server's disk before it is acknowledged
  Settings settings;
  // What libfuse is given besides fsname, subtype, ro and max_read.
  std::vector<std::string> kernel_options;

  bool psk = false;      // prove a key, and have the server prove it
  std::string key_file;  // "": auth::kDefaultKeyFile
  std::string key_name;  // of several in the file; "": the first
  TlsOptions tls;
  TransportChoice transport = TransportChoice::kAuto;
  MemoryExposure exposure = MemoryExposure::kCache;
  uint16_t port = 20490;
  uint32_t nconnect = 4;
  size_t pool_bytes = size_t{64} << 20;
  ReadAheadOptions read_ahead;
  uint32_t shards = 0;  // 0: min(cores, 4)
  // Whether the kernel hands requests over by an io_uring: kAuto where it can.
  enum class Uring : uint8_t { kAuto, kOn, kOff };
  Uring io_uring = Uring::kAuto;
  bool soft = false;  // give up after `timeout`; otherwise wait for the server
  Nanoseconds timeout = 60 * kSecond;
  LogLevel log_level = LogLevel::kNotice;

  // Whether no connection over RDMA follows one over TCP: only to another server there is a way
  // back.
  bool NeverLeavesTcp() const {
    return hosts.size() == 1 || transport == TransportChoice::kTcp || tls.on;
  }
};

// `arguments` without the program's name. An error says in one sentence what is wrong.
absl::StatusOr<MountOptions> ParseArguments(absl::Span<const std::string> arguments);

// "HOST:DIR" or "[ADDRESS]:DIR", with several hosts as "HOST,[ADDRESS]:DIR", into its parts.
absl::Status ParseSource(absl::string_view source, MountOptions& options);

// What --help says.
std::string HelpText();

}  // namespace rdmafs::fuse
