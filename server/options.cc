#include "server/options.h"

#include <getopt.h>

#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/exports.h"

namespace rdmafs::server {
namespace {

using Value = absl::string_view;
using Setter = bool (*)(ServerConfiguration&, Value);

constexpr int kMaxThreads = 1024;
constexpr int kMaxLeaseSeconds = 86400;

bool SetPort(ServerConfiguration& configuration, Value value) {
  uint32_t port;
  if (!absl::SimpleAtoi(value, &port) || port > 65535) return false;
  configuration.port = static_cast<uint16_t>(port);
  return true;
}

bool SetTransport(ServerConfiguration& configuration, Value value) {
  if (value == "auto")
    configuration.transport = TransportChoice::kAuto;
  else if (value == "tcp")
    configuration.transport = TransportChoice::kTcp;
  else if (value == "rdma")
    configuration.transport = TransportChoice::kRdma;
  else
    return false;
  return true;
}

bool SetTls(ServerConfiguration& configuration, Value value) {
  if (value == "off")
    configuration.tls = TlsChoice::kOff;
  else if (value == "accepted")
    configuration.tls = TlsChoice::kAccepted;
  else if (value == "required")
    configuration.tls = TlsChoice::kRequired;
  else
    return false;
  return true;
}

bool SetThreads(int& threads, Value value) {
  return absl::SimpleAtoi(value, &threads) && threads > 0 && threads <= kMaxThreads;
}

// "64M", "1G", "65536".
bool SetSize(size_t& bytes, Value value) {
  int shift = 0;
  if (!value.empty()) {
    const absl::string_view units = "kmgt";
    const size_t unit = units.find(static_cast<char>(value.back() | 0x20));
    if (unit != units.npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      value.remove_suffix(1);
    }
  }
  uint64_t number;
  if (!absl::SimpleAtoi(value, &number) || number == 0 || number > (uint64_t{1} << 50) >> shift)
    return false;
  bytes = number << shift;
  return true;
}

// "10.0.0.0/8:192.168.1.7", "[fd00::]/8". Colons inside brackets are an IPv6 address's.
bool AddClients(ServerConfiguration& configuration, Value value) {
  std::string item;
  bool bracketed = false;
  for (char c : absl::StrCat(value, ":")) {
    if (c == ':' && !bracketed) {
      if (item.empty()) return false;
      configuration.clients.push_back(std::exchange(item, {}));
      continue;
    }
    if (c == '[' || c == ']') {
      bracketed = c == '[';
      continue;
    }
    item.push_back(c);
  }
  return !bracketed && item.empty();
}

bool SetLogLevel(ServerConfiguration& configuration, Value value) {
  struct Row {
    Value name;
    LogLevel level;
  };
  for (const Row& row : {Row{"error", LogLevel::kError}, Row{"warning", LogLevel::kWarning},
                         Row{"notice", LogLevel::kNotice}, Row{"info", LogLevel::kInformation},
                         Row{"debug", LogLevel::kDebug}}) {
    if (row.name == value) {
      configuration.log_level = row.level;
      return true;
    }
  }
  return false;
}

bool SetText(std::string& text, Value value) {
  text = std::string(value);
  return !text.empty();
}

struct Option {
  Value name;
  Setter set;
};
constexpr Option kOptions[] = {
    {"listen", [](ServerConfiguration& c, Value v) { return SetText(c.listen.emplace_back(), v); }},
    {"port", SetPort},
    {"transport", SetTransport},
    {"clients", AddClients},
    {"shards", [](ServerConfiguration& c, Value v) { return SetThreads(c.shards, v); }},
    {"workers", [](ServerConfiguration& c, Value v) { return SetThreads(c.workers, v); }},
    {"pool_size", [](ServerConfiguration& c, Value v) { return SetSize(c.pool_bytes, v); }},
    {"io_uring",
     [](ServerConfiguration& c, Value v) {
       c.io_uring = v == "on";
       return v == "on" || v == "off";
     }},
    {"lease",
     [](ServerConfiguration& c, Value v) {
       return absl::SimpleAtoi(v, &c.lease_s) && c.lease_s > 0 && c.lease_s <= kMaxLeaseSeconds;
     }},
    {"state", [](ServerConfiguration& c, Value v) { return SetText(c.state_directory, v); }},
    {"exports", [](ServerConfiguration& c, Value v) { return SetText(c.exports_file, v); }},
    {"key", [](ServerConfiguration& c, Value v) { return SetText(c.key_file, v); }},
    {"tls", SetTls},
    {"cert", [](ServerConfiguration& c, Value v) { return SetText(c.certificate_file, v); }},
    {"cert_key", [](ServerConfiguration& c, Value v) { return SetText(c.private_key_file, v); }},
    {"ca", [](ServerConfiguration& c, Value v) { return SetText(c.ca_file, v); }},
    {"run_dir", [](ServerConfiguration& c, Value v) { return SetText(c.run_directory, v); }},
    {"log_level", SetLogLevel},
};

// Those of exports(5) that may be given with -o for the directories of the command line.
bool IsExportOption(Value option) {
  constexpr std::array<Value, 8> kPlain = {
      "ro", "rw", "sync", "async", "root_squash", "no_root_squash", "all_squash", "no_all_squash"};
  return std::find(kPlain.begin(), kPlain.end(), option) != kPlain.end() ||
         absl::StartsWith(option, "anonuid=") || absl::StartsWith(option, "anongid=") ||
         absl::StartsWith(option, "sec=") || absl::StartsWith(option, "xprtsec=");
}

absl::Status TakeOption(ServerConfiguration& configuration, Value text) {
  if (IsExportOption(text)) {
    absl::StrAppend(&configuration.export_options, configuration.export_options.empty() ? "" : ",",
                    text);
    return absl::OkStatus();
  }
  const std::pair<Value, Value> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  for (const Option& option : kOptions) {
    if (option.name != parts.first) continue;
    if (option.set(configuration, parts.second)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("option ", parts.first, ": '", parts.second,
                                                   "' is not a value that it can have"));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown option '", text, "' (see --help)"));
}

// What contradicts itself in the options for TLS.
absl::Status CheckTls(const ServerConfiguration& c) {
  if (c.certificate_file.empty() != c.private_key_file.empty())
    return absl::InvalidArgumentError(
        "cert= and cert_key= belong together: one of them is missing");
  if (!c.ca_file.empty() && c.certificate_file.empty())
    return absl::InvalidArgumentError(
        "ca= asks clients for certificates, and cert= and cert_key= are missing");
  if (c.tls == TlsChoice::kOff && !c.certificate_file.empty())
    return absl::InvalidArgumentError(
        "cert= is for tls=accepted or tls=required, which is not among the options");
  if (c.tls != TlsChoice::kOff && c.transport == TransportChoice::kRdma)
    return absl::InvalidArgumentError("tls= is for TCP, and transport=rdma leaves none");
  return absl::OkStatus();
}

absl::Status TakeOptionList(ServerConfiguration& configuration, Value list) {
  for (Value text : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    if (absl::Status status = TakeOption(configuration, text); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServerConfiguration> ParseOptions(absl::Span<const std::string> arguments) {
  static constexpr option kLong[] = {{"help", no_argument, nullptr, 'h'},
                                     {"version", no_argument, nullptr, 'V'},
                                     {"foreground", no_argument, nullptr, 'f'},
                                     {"debug", no_argument, nullptr, 'd'},
                                     {nullptr, 0, nullptr, 0}};
  std::vector<char*> argv = {const_cast<char*>("rdmafsd")};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ServerConfiguration configuration;
  optind = 0;  // getopt(3): begin anew
  opterr = 0;  // the line is ours to write
  const int count = static_cast<int>(argv.size()) - 1;
  for (int c; (c = getopt_long(count, argv.data(), ":dfhVo:", kLong, nullptr)) != -1;) {
    switch (c) {
      case 'd':
        configuration.log_level = LogLevel::kDebug;
        configuration.foreground = true;
        break;
      case 'f':
        configuration.foreground = true;
        break;
      case 'h':
        configuration.show_help = true;
        break;
      case 'V':
        configuration.show_version = true;
        break;
      case 'o':
        if (absl::Status status = TakeOptionList(configuration, optarg); !status.ok())
          return status;
        break;
      case ':':
        return absl::InvalidArgumentError(absl::StrCat("'", argv[optind - 1], "' needs a value"));
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("unknown option '", argv[optind - 1], "' (see --help)"));
    }
  }
  configuration.directories.assign(argv.begin() + optind, argv.end() - 1);
  if (absl::Status status = CheckTls(configuration); !status.ok()) return status;
  // Who names a key file wants it to be asked for. (What is wrong with the options is told where
  // they are used.)
  ExportOptions options;
  if (!configuration.directories.empty() && !configuration.key_file.empty() &&
      ApplyExportOptions(configuration.export_options, options).ok() && !options.security.psk) {
    return absl::InvalidArgumentError("key= is for sec=psk, which is not among the options");
  }
  return configuration;
}

std::string_view UsageText() {
  return "usage: rdmafsd [-dfhV] [-o OPTION[,OPTION...]] [DIRECTORY...]\n"
         "Exports each DIRECTORY to this host and to clients=; without one, what "
         "/etc/rdmafs/exports lists.\n"
         "\n"
         "  -f, --foreground   stay in the foreground and log to standard error\n"
         "  -d, --debug        the same, and log more\n"
         "  -h, --help         print this and exit\n"
         "  -V, --version      print the version and exit\n"
         "\n"
         "Options for -o:\n"
         "  listen=ADDRESS     listen on this address (default: all; may be repeated)\n"
         "  port=NUMBER        port for TCP and RDMA (default 20490; 0: any free one)\n"
         "  transport=WHICH    tcp, rdma, or auto: tcp, and rdma where there is a device "
         "(default)\n"
         "  clients=NET:NET... networks or addresses that may mount DIRECTORY, besides this host;\n"
         "                     IPv6 in brackets: [fd00::]/8\n"
         "  ro, rw, sync, async, root_squash, no_root_squash, all_squash, anonuid=UID, "
         "anongid=GID\n"
         "                     as in rdmafs-exports(5), for DIRECTORY (default: rw, and\n"
         "                     no_root_squash for this host, root_squash for clients=)\n"
         "  sec=sys|psk        clients are known by their address, or have to prove a key; "
         "sys:psk: either\n"
         "  key=FILE           the keys, of mode 0600 (default /etc/rdmafs/keys)\n"
         "  tls=WHICH          TLS 1.3 over TCP: off (default), accepted, or required: nobody "
         "without it, no RDMA\n"
         "  xprtsec=WHICH      the same for DIRECTORY: none, tls, mtls, or several: tls:mtls\n"
         "  cert=FILE, cert_key=FILE  the server's certificate and its private key, of mode "
         "0600 (without them\n"
         "                     clients come to TLS with their key: sec=psk)\n"
         "  ca=FILE            clients without a key must show a certificate of these authorities\n"
         "  shards=COUNT       threads that serve connections (default: one for each core)\n"
         "  workers=COUNT      threads for calls that may block (default: two for each core, at "
         "least 4)\n"
         "  pool_size=SIZE     memory for payload at most, with K, M or G (default 256M)\n"
         "  io_uring=on|off    use io_uring for reads and writes of the disk where it is allowed "
         "(on)\n"
         "  lease=SECONDS      how long the files and locks of a client that is away are kept for "
         "it (60)\n"
         "  state=DIRECTORY    where the key of the file handles is kept, and what the next server "
         "is to\n"
         "                     know after a restart (default /var/lib/rdmafs)\n"
         "  exports=FILE       the exports (default /etc/rdmafs/exports)\n"
         "  run_dir=DIRECTORY  where the control socket is (default /run/rdmafs)\n"
         "  log_level=LEVEL    error, warning, notice (default), info or debug\n"
         "\n"
         "The exit status is 0 after SIGTERM or SIGINT, 1 when it could not start.\n";
}

}  // namespace rdmafs::server
