#include "fuse/mount_options.h"

#include <algorithm>
#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "fuse/option_values.h"
#include "transport/auth/handshake.h"

namespace rdmafs::fuse {
namespace {

constexpr size_t kMaxHosts = 8;

// Two reads of a page each.
constexpr uint64_t kLeastWindowBytes = 16 * 1024;

// An option of ours that takes a value.
struct ValueOption {
  absl::string_view name;
  absl::Status (*parse)(absl::string_view name, Value, MountOptions&);
};

constexpr ValueOption kValueOptions[] = {
    {"max_read",
     [](absl::string_view name, Value value, MountOptions& o) {
       size_t bytes;
       absl::Status status = ParseSize(name, value, 4096, wire::kMaxPayloadBytes, bytes);
       if (status.ok()) o.kernel_options.push_back(absl::StrCat("max_read=", bytes));
       return status;
     }},
    {"attr_timeout",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSeconds(name, value, o.settings.attr_timeout);
     }},
    {"entry_timeout",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSeconds(name, value, o.settings.entry_timeout);
     }},
    {"negative_timeout",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSeconds(name, value, o.settings.negative_timeout);
     }},
    {"cache",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<CacheMode>(
           name, value,
           {{"none", CacheMode::kNone}, {"auto", CacheMode::kAuto}, {"always", CacheMode::kAlways}},
           o.settings.cache);
     }},
    {"read_ahead",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<ReadAheadMode>(name, value,
                                         {{"auto", ReadAheadMode::kAuto},
                                          {"on", ReadAheadMode::kOn},
                                          {"off", ReadAheadMode::kOff}},
                                         o.read_ahead.mode);
     }},
    {"ra_max",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSize(name, value, kLeastWindowBytes, uint64_t{1} << 30,
                        o.read_ahead.max_window_bytes);
     }},
    {"ra_total",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSize(name, value, wire::kMaxPayloadBytes, uint64_t{1} << 40,
                        o.read_ahead.max_total_bytes);
     }},
    {"transport",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<TransportChoice>(name, value,
                                           {{"auto", TransportChoice::kAuto},
                                            {"rdma", TransportChoice::kRdma},
                                            {"tcp", TransportChoice::kTcp}},
                                           o.transport);
     }},
    {"mr",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<MemoryExposure>(
           name, value, {{"cache", MemoryExposure::kCache}, {"window", MemoryExposure::kWindow}},
           o.exposure);
     }},
    {"sec",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<bool>(name, value, {{"sys", false}, {"psk", true}}, o.psk);
     }},
    {"key",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseFile(name, value, o.key_file);
     }},
    {"key_name",
     [](absl::string_view name, Value value, MountOptions& o) {
       o.key_name = std::string(value);
       return auth::IsKeyName(o.key_name) ? absl::OkStatus()
                                          : BadValue(name, value, "the name of a key in the file");
     }},
    // The word of mount.nfs for it.
    {"xprtsec",
     [](absl::string_view name, Value value, MountOptions& o) {
       enum class Policy { kNone, kTls, kMutual } policy = Policy::kNone;
       absl::Status status = ParseChoice<Policy>(
           name, value, {{"none", Policy::kNone}, {"tls", Policy::kTls}, {"mtls", Policy::kMutual}},
           policy);
       if (!status.ok()) return status;
       o.tls.on = policy != Policy::kNone;
       o.tls.mutual = policy == Policy::kMutual;
       return status;
     }},
    {"ca", [](absl::string_view name, Value value,
              MountOptions& o) { return ParseFile(name, value, o.tls.ca_file); }},
    {"cert", [](absl::string_view name, Value value,
                MountOptions& o) { return ParseFile(name, value, o.tls.certificate_file); }},
    {"cert_key", [](absl::string_view name, Value value,
                    MountOptions& o) { return ParseFile(name, value, o.tls.private_key_file); }},
    {"port", [](absl::string_view name, Value value,
                MountOptions& o) { return ParseNumber(name, value, 1, 65535, o.port); }},
    {"nconnect", [](absl::string_view name, Value value,
                    MountOptions& o) { return ParseNumber(name, value, 1, 16, o.nconnect); }},
    {"pool_size",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseSize(name, value, uint64_t{4} << 20, uint64_t{1} << 40, o.pool_bytes);
     }},
    {"shards", [](absl::string_view name, Value value,
                  MountOptions& o) { return ParseNumber(name, value, 1, 64, o.shards); }},
    {"io_uring",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<MountOptions::Uring>(name, value,
                                               {{"auto", MountOptions::Uring::kAuto},
                                                {"on", MountOptions::Uring::kOn},
                                                {"off", MountOptions::Uring::kOff}},
                                               o.io_uring);
     }},
    {"timeout",
     [](absl::string_view name, Value value, MountOptions& o) {
       absl::Status status = ParseSeconds(name, value, o.timeout);
       if (status.ok() && o.timeout < kSecond) return BadValue(name, value, "at least 1 second");
       return status;
     }},
    {"log_level",
     [](absl::string_view name, Value value, MountOptions& o) {
       return ParseChoice<LogLevel>(name, value,
                                    {{"error", LogLevel::kError},
                                     {"warning", LogLevel::kWarning},
                                     {"notice", LogLevel::kNotice},
                                     {"info", LogLevel::kInformation},
                                     {"debug", LogLevel::kDebug}},
                                    o.log_level);
     }},
};

// An option of ours without a value.
struct FlagOption {
  absl::string_view name;
  void (*set)(MountOptions&);
};

constexpr FlagOption kFlagOptions[] = {
    {"ro", [](MountOptions& o) { o.read_only = true; }},
    {"rw", [](MountOptions& o) { o.read_only = false; }},
    // Ours: the kernel's own way of it is one fsync more for each write.
    {"sync", [](MountOptions& o) { o.sync = true; }},
    {"async", [](MountOptions& o) { o.sync = false; }},
    {"direct_io", [](MountOptions& o) { o.settings.direct_io = true; }},
    {"writeback", [](MountOptions& o) { o.settings.writeback = true; }},
    {"tls", [](MountOptions& o) { o.tls.on = true; }},
    {"soft", [](MountOptions& o) { o.soft = true; }},
    {"hard", [](MountOptions& o) { o.soft = false; }},
};

// Handed on to libfuse, which knows what the kernel makes of them.
constexpr absl::string_view kKernelOptions[] = {
    "allow_other",  "default_permissions",
    "auto_unmount", "suid",
    "nosuid",       "dev",
    "nodev",        "exec",
    "noexec",       "atime",
    "noatime",      "dirsync",
};
constexpr absl::string_view kKernelValueOptions[] = {"context", "fscontext", "defcontext",
                                                     "rootcontext"};

// Meant for mount(8), systemd or fstab(5), or without a meaning for a FUSE file system.
constexpr absl::string_view kIgnoredOptions[] = {
    "defaults",    "auto",          "noauto",     "user",     "nouser",     "users",
    "owner",       "group",         "nofail",     "_netdev",  "relatime",   "norelatime",
    "strictatime", "lazytime",      "nolazytime", "diratime", "nodiratime", "iversion",
    "noiversion",  "nostrictatime", "mand",       "nomand",   "silent",     "loud",
};
constexpr absl::string_view kIgnoredValueOptions[] = {"comment", "uhelper", "helper", "fsname",
                                                      "subtype"};

template <typename List>
bool Contains(const List& list, absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

absl::Status ParseOption(absl::string_view option, MountOptions& options) {
  const size_t equals = option.find('=');
  const absl::string_view name = option.substr(0, equals);
  if (option.empty() || name.substr(0, 2) == "x-" || name.substr(0, 2) == "X-")
    return absl::OkStatus();
  if (equals == absl::string_view::npos) {
    for (const FlagOption& flag : kFlagOptions) {
      if (flag.name == name) {
        flag.set(options);
        return absl::OkStatus();
      }
    }
    if (Contains(kIgnoredOptions, name)) return absl::OkStatus();
    if (Contains(kKernelOptions, name)) {
      options.kernel_options.emplace_back(option);
      return absl::OkStatus();
    }
    for (const ValueOption& known : kValueOptions) {
      if (known.name == name) return BadValue(name, "", "a value");
    }
  } else {
    for (const ValueOption& known : kValueOptions) {
      if (known.name == name) return known.parse(name, option.substr(equals + 1), options);
    }
    if (Contains(kIgnoredValueOptions, name)) return absl::OkStatus();
    if (Contains(kKernelValueOptions, name)) {
      options.kernel_options.emplace_back(option);
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown option '", option, "'; see rdmafs --help"));
}

absl::Status ParseOptionList(absl::string_view list, MountOptions& options) {
  for (absl::string_view option : absl::StrSplit(list, ',')) {
    if (absl::Status status = ParseOption(option, options); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// -f, -d and the like; false when it is none of them.
bool ParseSwitch(absl::string_view argument, MountOptions& options) {
  if (argument == "-h" || argument == "--help") {
    options.help = true;
  } else if (argument == "-V" || argument == "--version") {
    options.version = true;
  } else if (argument == "-f") {
    options.foreground = true;
  } else if (argument == "-d") {
    options.foreground = options.debug = true;
    options.log_level = LogLevel::kDebug;
  } else if (argument == "-r") {
    options.read_only = true;
  } else {
    return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<MountOptions> ParseArguments(absl::Span<const std::string> arguments) {
  MountOptions options;
  std::vector<absl::string_view> operands;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const absl::string_view argument = arguments[i];
    absl::Status status;
    if (ParseSwitch(argument, options)) continue;
    if (argument == "-o") {
      if (++i == arguments.size()) return absl::InvalidArgumentError("-o needs a list of options");
      status = ParseOptionList(arguments[i], options);
    } else if (argument.substr(0, 2) == "-o") {
      status = ParseOptionList(argument.substr(2), options);
    } else if (argument.size() > 1 && argument[0] == '-') {
      status = absl::InvalidArgumentError(
          absl::StrCat("unknown argument '", argument, "'; see rdmafs --help"));
    } else {
      operands.push_back(argument);
    }
    if (!status.ok()) return status;
  }
  if (options.help || options.version) return options;
  if (operands.size() != 2) {
    return absl::InvalidArgumentError(
        "usage: rdmafs HOST:DIR MOUNTPOINT [-f] [-d] [-o options]; see rdmafs --help");
  }
  // Who names a key must not go without it.
  if (!options.psk && (!options.key_file.empty() || !options.key_name.empty())) {
    return absl::InvalidArgumentError(
        "key= and key_name= are for sec=psk, which is not among the options");
  }
  if (absl::Status tls = options.tls.Check(options.psk); !tls.ok()) return tls;
  if (options.tls.on && options.transport == TransportChoice::kRdma) {
    return absl::InvalidArgumentError("tls is spoken over TCP, and transport=rdma leaves none");
  }
  options.mount_point = std::string(operands[1]);
  absl::Status status = ParseSource(operands[0], options);
  if (!status.ok()) return status;
  return options;
}

absl::Status ParseSource(absl::string_view source, MountOptions& options) {
  options.source = std::string(source);
  options.hosts.clear();
  absl::string_view rest = source;
  do {
    absl::string_view host;
    if (!rest.empty() && rest[0] == '[') {
      const size_t end = rest.find(']');
      if (end == absl::string_view::npos) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", source, "': the bracket is not closed"));
      }
      host = rest.substr(1, end - 1);
      rest.remove_prefix(end + 1);
    } else {
      host = rest.substr(0, rest.find_first_of(":,"));
      rest.remove_prefix(host.size());
    }
    if (host.empty() || rest.empty() || (rest[0] != ':' && rest[0] != ',')) {
      return absl::InvalidArgumentError(absl::StrCat("'", source, "' is not HOST:DIR"));
    }
    if (options.hosts.size() == kMaxHosts) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", source, "': more than ", kMaxHosts, " hosts"));
    }
    options.hosts.emplace_back(host);
    rest.remove_prefix(1);
  } while (rest.data()[-1] == ',');
  if (rest.empty() || rest[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", source,
        "': the directory after HOST: must be absolute (write an IPv6 address as [ADDRESS])"));
  }
  if (rest.size() > wire::kMaxPathBytes)
    return absl::InvalidArgumentError("the directory's name is too long");
  options.directory = std::string(rest);
  return absl::OkStatus();
}

}  // namespace rdmafs::fuse
