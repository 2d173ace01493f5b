#include "server/exports.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace rdmafs {
namespace {

// FNV-1a: an id that a restart, on any build, gives again.
uint32_t Hash(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

// Whether `path` is `top` or lies below; `below` is what is left of it.
bool LiesBelow(std::string_view path, std::string_view top, std::string& below) {
  if (top == "/") {
    below = std::string(path.substr(1));
    return true;
  }
  if (!path.starts_with(top)) return false;
  if (path.size() > top.size() && path[top.size()] != '/') return false;
  below = path.size() > top.size() ? std::string(path.substr(top.size() + 1)) : "";
  return true;
}

std::string IdentityText(const Export& exported) {
  for (const ExportRule& rule : exported.rules) {
    if (rule.options.fsid) return absl::StrCat("fsid=", *rule.options.fsid);
  }
  return exported.path;
}

}  // namespace

std::optional<std::string> NormalPath(std::string_view path) {
  if (path.empty() || path.front() != '/') return std::nullopt;
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(absl::string_view(path.data(), path.size()), '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  std::string normal;
  for (absl::string_view part : parts) absl::StrAppend(&normal, "/", part);
  return normal.empty() ? "/" : normal;
}

absl::Status Exports::Finish() {
  // Several lines may speak of one path.
  Export& last = exports_.back();
  auto same = std::find_if(exports_.begin(), exports_.end() - 1,
                           [&](const Export& other) { return other.path == last.path; });
  if (same != exports_.end() - 1) {
    same->rules.insert(same->rules.end(), last.rules.begin(), last.rules.end());
    exports_.pop_back();
  }
  Export& exported = same == exports_.end() ? exports_.back() : *same;
  exported.cross_mounts = exported.rules.front().options.cross_mounts;
  const std::optional<uint32_t> fsid = exported.rules.front().options.fsid;
  for (const ExportRule& rule : exported.rules) {
    if (rule.options.cross_mounts != exported.cross_mounts || rule.options.fsid != fsid) {
      return absl::InvalidArgumentError(
          absl::StrCat(exported.path, ": crossmnt and fsid must be the same for all clients"));
    }
  }
  // Paths seldom collide; then the order of the file decides.
  exported.id = Hash(IdentityText(exported));
  const auto taken = [&](const Export& other) {
    return &other != &exported && other.id == exported.id;
  };
  while (std::any_of(exports_.begin(), exports_.end(), taken)) ++exported.id;
  return absl::OkStatus();
}

absl::StatusOr<Exports> Exports::ForDirectories(absl::Span<const std::string> paths,
                                                std::string_view options,
                                                absl::Span<const std::string> clients) {
  ExportOptions here, elsewhere;
  here.read_only = elsewhere.read_only = false;
  here.squash.root = false;
  for (ExportOptions* changed : {&here, &elsewhere}) {
    if (absl::Status status = ApplyExportOptions(options, *changed); !status.ok()) return status;
  }
  std::vector<ExportRule> rules{{ClientPattern::ThisHost(), here}};
  for (const std::string& client : clients) {
    auto pattern = ClientPattern::Parse(client);
    if (!pattern.ok()) return pattern.status();
    rules.push_back({*std::move(pattern), elsewhere});
  }
  Exports exports;
  for (const std::string& path : paths) {
    auto normal = NormalPath(path);
    if (!normal) return absl::InvalidArgumentError(absl::StrCat("not an absolute path: ", path));
    exports.exports_.push_back(Export{*normal, 0, false, rules});
    if (absl::Status status = exports.Finish(); !status.ok()) return status;
  }
  return exports;
}

SecurityFlavors Exports::offered() const {
  SecurityFlavors all{.sys = false, .psk = false};
  for (const Export& exported : exports_) {
    for (const ExportRule& rule : exported.rules) {
      all.sys = all.sys || rule.options.security.sys;
      all.psk = all.psk || rule.options.security.psk;
    }
  }
  return all;
}

bool Exports::demands_tls() const {
  for (const Export& exported : exports_) {
    for (const ExportRule& rule : exported.rules) {
      if (!rule.options.transport_security.none) return true;
    }
  }
  return false;
}

Result<Exports::Match> Exports::Find(const Peer& peer, std::string_view path,
                                     HostNames& names) const {
  const auto normal = NormalPath(path);
  const auto address = HostAddress::Parse(peer.host);
  if (!normal || path.find('\0') != path.npos) return Errno(ENOENT);
  if (!address) return Errno(EACCES);
  Match match{};
  for (const Export& exported : exports_) {
    std::string below;
    if (!LiesBelow(*normal, exported.path, below)) continue;
    if (match.exported != nullptr && match.exported->path.size() > exported.path.size()) continue;
    match.exported = &exported;
    match.below = std::move(below);
  }
  if (match.exported == nullptr) return Errno(ENOENT);
  int best = -1;
  bool lacks_tls = false;  // all that keeps it from a rule
  const auto keeps_to = [&](const SecurityFlavors& flavors) {
    return peer.key.empty() ? flavors.sys : flavors.psk;
  };
  for (const ExportRule& rule : match.exported->rules) {
    const int specificity = rule.client.specificity();
    const bool better = specificity > best || (specificity == best && match.options == nullptr);
    // Names cost a question to the network: only where the answer counts.
    if (!better || !rule.client.Matches(*address, names)) continue;
    if (specificity > best) lacks_tls = false;
    best = specificity;
    match.options = nullptr;
    if (!keeps_to(rule.options.security)) continue;
    if (rule.options.transport_security.Allows(peer.protection)) {
      match.options = &rule.options;
    } else {
      lacks_tls = true;
    }
  }
  if (best < 0) return Errno(EACCES);
  if (match.options == nullptr && lacks_tls) return Errno(EPROTOTYPE);
  if (match.options == nullptr) return Errno(peer.key.empty() ? ENOKEY : EOPNOTSUPP);
  if (match.options->secure && (peer.port == 0 || peer.port >= 1024)) return Errno(EACCES);
  return match;
}

}  // namespace rdmafs
