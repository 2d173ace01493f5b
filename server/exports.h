// Exports: what is exported to whom, from a file in exports(5)'s syntax or from a command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/client_pattern.h"
#include "server/squash.h"
#include "transport/base/errno.h"

namespace rdmafs {

// How clients say who they are (sec=), one or both.
struct SecurityFlavors {
  bool sys = true;   // by their address
  bool psk = false;  // by a key
  friend bool operator==(const SecurityFlavors&, const SecurityFlavors&) = default;
};

// What protects a client's connections. Each is better than the ones before it.
enum class Protection {
  kNone,
  kTls,        // TLS, in which the server has shown who it is
  kMutualTls,  // in which both have, by key or certificate
};

// What connections must be protected by (xprtsec=): any of these will do. TLS in which the client
// shows who it is is as good as TLS in which it does not.
struct TransportSecurity {
  bool none = true, tls = true, mutual_tls = true;
  bool Allows(Protection protection) const {
    return protection == Protection::kNone
               ? none
               : tls || (mutual_tls && protection == Protection::kMutualTls);
  }
  friend bool operator==(const TransportSecurity&, const TransportSecurity&) = default;
};

struct ExportOptions {
  bool read_only = true;
  SquashRule squash;
  bool secure = false;        // only clients with a port below 1024
  bool sync = false;          // every change is on the disk before its reply
  bool cross_mounts = false;  // the same for all clients of a path
  std::optional<uint32_t> fsid;
  SecurityFlavors security;
  TransportSecurity transport_security;
  friend bool operator==(const ExportOptions&, const ExportOptions&) = default;
};

struct ExportRule {
  ClientPattern client;
  ExportOptions options;
};

struct Export {
  std::string path;  // absolute, without "//", "." and ".."
  uint32_t id = 0;   // unique in its Exports; the same after a restart
  bool cross_mounts = false;
  std::vector<ExportRule> rules;
};

// Immutable.
class Exports {
 public:
  // `file` is for the messages, each one line that begins with file:line.
  static absl::StatusOr<Exports> Parse(std::string_view text, const std::string& file);
  // The same for a file's content. Blocks.
  static absl::StatusOr<Exports> Load(const std::string& file);
  // The quick case: `path` (absolute) for this host (rw,no_root_squash) and for `clients`
  // (rw,root_squash); `options` ("ro,all_squash") change that for all of them.
  static absl::StatusOr<Exports> ForDirectories(absl::Span<const std::string> paths,
                                                std::string_view options,
                                                absl::Span<const std::string> clients);

  struct Peer {
    std::string host;   // an address
    uint16_t port = 0;  // 0: unknown, which is not a secure one
    std::string key;    // the name of the key that it has proved, "": none
    Protection protection = Protection::kNone;  // of its connection
  };
  struct Match {
    const Export* exported;        // lives as long as the Exports
    const ExportOptions* options;  // of the rule that counts
    std::string below;             // of the path asked for, "" for the export itself
  };
  // The longest export that `path` is or lies below decides, and in it the rule that says most
  // exactly who it is for; of several of them, the first whose sec= and xprtsec= the peer keeps to.
  // ENOENT: nothing of that path is exported. EACCES: not to this peer. ENOKEY: only to who has
  // proved a key. EOPNOTSUPP: only without one. EPROTOTYPE: only over TLS, or better TLS. May ask
  // the name service: worker threads only.
  Result<Match> Find(const Peer& peer, std::string_view path, HostNames& names) const;

  const std::vector<Export>& all() const { return exports_; }
  // All that any rule offers.
  SecurityFlavors offered() const;
  // Whether any rule leaves TLS no choice.
  bool demands_tls() const;

 private:
  // INVALID_ARGUMENT when the clients of one path disagree about what concerns all of them.
  absl::Status Finish();

  std::vector<Export> exports_;
};

// "/srv//data/./x/" becomes "/srv/data/x"; ".." goes up as far as "/". Nothing when it is not
// absolute.
std::optional<std::string> NormalPath(std::string_view path);

// Changes `options` by a list such as "rw,anonuid=1000". The status names the option that is wrong.
absl::Status ApplyExportOptions(std::string_view list, ExportOptions& options);

}  // namespace rdmafs
