// ApplyExportOptions: the options of exports(5) in parentheses.
#include <functional>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/exports.h"

namespace rdmafs {
namespace {

using Flag = void (*)(ExportOptions&);

const std::map<std::string_view, Flag>& Flags() {
  static const std::map<std::string_view, Flag> flags = {
      {"ro", [](ExportOptions& o) { o.read_only = true; }},
      {"rw", [](ExportOptions& o) { o.read_only = false; }},
      {"root_squash", [](ExportOptions& o) { o.squash.root = true; }},
      {"no_root_squash", [](ExportOptions& o) { o.squash.root = false; }},
      {"all_squash", [](ExportOptions& o) { o.squash.all = true; }},
      {"no_all_squash", [](ExportOptions& o) { o.squash.all = false; }},
      {"secure", [](ExportOptions& o) { o.secure = true; }},
      {"insecure", [](ExportOptions& o) { o.secure = false; }},
      {"crossmnt", [](ExportOptions& o) { o.cross_mounts = true; }},
      {"nocrossmnt", [](ExportOptions& o) { o.cross_mounts = false; }},
      {"sync", [](ExportOptions& o) { o.sync = true; }},
      {"async", [](ExportOptions& o) { o.sync = false; }},
      // What rdmafs does anyway, or what has no meaning to it.
      {"wdelay", [](ExportOptions&) {}},
      {"no_wdelay", [](ExportOptions&) {}},
      {"no_subtree_check", [](ExportOptions&) {}},
  };
  return flags;
}

absl::Status Wrong(std::string_view option, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("option ", std::string(option), ": ", std::string(why)));
}

absl::Status SetId(std::string_view option, std::string_view value, uint32_t& id) {
  // The largest number means "no id" to the kernel.
  if (!absl::SimpleAtoi(absl::string_view(value.data(), value.size()), &id) || id == ~uint32_t{0}) {
    return Wrong(option, "not a user or group id");
  }
  return absl::OkStatus();
}

// "sys", "psk", or both with a colon between.
absl::Status SetSecurity(std::string_view option, std::string_view value,
                         SecurityFlavors& flavors) {
  SecurityFlavors wanted{.sys = false, .psk = false};
  for (absl::string_view flavor :
       absl::StrSplit(absl::string_view(value.data(), value.size()), ':')) {
    if (flavor == "sys") {
      wanted.sys = true;
    } else if (flavor == "psk") {
      wanted.psk = true;
    } else {
      return Wrong(option, "sys, psk or sys:psk is expected");
    }
  }
  flavors = wanted;
  return absl::OkStatus();
}

// "tls:mtls": what connections may be protected by, as with exports(5).
absl::Status SetTransportSecurity(std::string_view option, std::string_view value,
                                  TransportSecurity& security) {
  TransportSecurity wanted{.none = false, .tls = false, .mutual_tls = false};
  for (absl::string_view policy :
       absl::StrSplit(absl::string_view(value.data(), value.size()), ':')) {
    if (policy == "none") {
      wanted.none = true;
    } else if (policy == "tls") {
      wanted.tls = true;
    } else if (policy == "mtls") {
      wanted.mutual_tls = true;
    } else {
      return Wrong(option, "a list of none, tls and mtls with colons between is expected");
    }
  }
  security = wanted;
  return absl::OkStatus();
}

absl::Status ApplyOne(std::string_view option, ExportOptions& options) {
  if (auto flag = Flags().find(option); flag != Flags().end()) {
    flag->second(options);
    return absl::OkStatus();
  }
  const size_t equals = option.find('=');
  const std::string_view name = option.substr(0, equals);
  const std::string_view value = equals == option.npos ? "" : option.substr(equals + 1);
  if (name == "anonuid") return SetId(option, value, options.squash.anonymous_uid);
  if (name == "anongid") return SetId(option, value, options.squash.anonymous_gid);
  if (name == "fsid") {
    uint32_t id;
    if (!absl::SimpleAtoi(absl::string_view(value.data(), value.size()), &id))
      return Wrong(option, "not a number");
    options.fsid = id;
    return absl::OkStatus();
  }
  if (name == "sec") return SetSecurity(option, value, options.security);
  if (name == "xprtsec") return SetTransportSecurity(option, value, options.transport_security);
  if (name == "subtree_check") return Wrong(option, "not supported");
  return Wrong(option, "unknown");
}

}  // namespace

absl::Status ApplyExportOptions(std::string_view list, ExportOptions& options) {
  for (absl::string_view piece : absl::StrSplit(absl::string_view(list.data(), list.size()), ',')) {
    piece = absl::StripAsciiWhitespace(piece);
    if (piece.empty()) continue;
    if (absl::Status status = ApplyOne({piece.data(), piece.size()}, options); !status.ok())
      return status;
  }
  return absl::OkStatus();
}

}  // namespace rdmafs
