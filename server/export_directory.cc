#include "server/export_directory.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "server/posix_store.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

constexpr char kSystemStateDirectory[] = "/var/lib/rdmafs";

// Handles outlive a restart where the key does.
absl::StatusOr<HandleKey> FindKey(const ServerConfiguration& configuration) {
  if (!configuration.state_directory.empty())
    return LoadOrCreateHandleKey(configuration.state_directory);
  if (geteuid() != 0) return RandomHandleKey();
  absl::StatusOr<HandleKey> key = LoadOrCreateHandleKey(kSystemStateDirectory);
  if (key.ok()) return key;
  Log(LogLevel::kWarning, key.status().message(),
      ": mounts will see ESTALE after a restart of the server");
  return RandomHandleKey();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExportDirectory>> ExportDirectory::Open(
    const ServerConfiguration& configuration, const Clock& clock, KeyRing& keys) {
  absl::StatusOr<HandleKey> key = FindKey(configuration);
  if (!key.ok()) return key.status();
  std::unique_ptr<ExportDirectory> directory(new ExportDirectory(configuration, *key, clock, keys));
  absl::StatusOr<Exports> exports = directory->Read();
  if (!exports.ok()) return exports.status();
  if (absl::Status status = directory->Serve(*std::move(exports)); !status.ok()) return status;
  return directory;
}

absl::StatusOr<Exports> ExportDirectory::Read() const {
  if (configuration_.directories.empty()) return Exports::Load(configuration_.exports_file);
  return Exports::ForDirectories(configuration_.directories, configuration_.export_options,
                                 configuration_.clients);
}

absl::Status ExportDirectory::Reload() {
  absl::StatusOr<Exports> exports = Read();
  if (!exports.ok()) return exports.status();
  return Serve(*std::move(exports));
}

absl::Status ExportDirectory::Serve(Exports exports) {
  auto next = std::make_shared<Generation>(std::move(exports));
  // Its changes are seen by themselves.
  if (next->offered.psk && !keys_.loaded()) {
    if (absl::Status status = keys_.Load(); !status.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("sec=psk needs keys (option key=FILE): ", status.message()));
    }
  }
  if (next->exports.demands_tls() && configuration_.tls == TlsChoice::kOff) {
    return absl::FailedPreconditionError(
        "xprtsec= asks for TLS, and tls= is off: tls=accepted or tls=required");
  }
  const std::shared_ptr<const Generation> before = current();
  for (const Export& exported : next->exports.all()) {
    const std::pair<std::string, uint32_t> key(exported.path, exported.id);
    if (before != nullptr) {
      // The store that is there goes on: its clients' handles may be in its table.
      auto found = before->stores.find(key);
      if (found != before->stores.end() && found->second.cross_mounts == exported.cross_mounts) {
        next->stores.emplace(key, found->second);
        continue;
      }
    }
    absl::StatusOr<Generation::Served> served = OpenStore(exported);
    if (served.ok()) {
      next->stores.emplace(key, *std::move(served));
    } else if (!configuration_.directories.empty()) {
      return served.status();
    } else {
      Log(LogLevel::kError, "not exporting ", served.status().message());
    }
  }
  absl::MutexLock lock(&mutex_);
  current_ = std::move(next);
  return absl::OkStatus();
}

absl::StatusOr<ExportDirectory::Generation::Served> ExportDirectory::OpenStore(
    const Export& exported) const {
  auto store = PosixStore::Open({.path = exported.path,
                                 .export_id = exported.id,
                                 .key = key_,
                                 .cross_mounts = exported.cross_mounts,
                                 .clock = &clock_});
  if (!store.ok()) return store.status();
  const bool table = !(*store)->handles_survive_restart();
  if (table) {
    Log(LogLevel::kNotice, exported.path,
        ": no lasting file handles here (file system or rights): mounts will see ESTALE after a "
        "restart");
  }
  return Generation::Served{std::move(*store), table, exported.cross_mounts};
}

std::shared_ptr<const ExportDirectory::Generation> ExportDirectory::current() const {
  absl::MutexLock lock(&mutex_);
  return current_;
}

SecurityFlavors ExportDirectory::Offered() const { return current()->offered; }

Result<ExportSource::Found> ExportDirectory::Find(const Exports::Peer& peer,
                                                  std::string_view path) {
  const std::shared_ptr<const Generation> generation = current();
  Result<Exports::Match> match = generation->exports.Find(peer, path, names_);
  if (!match.ok()) return match.error();
  auto served = generation->stores.find({match->exported->path, match->exported->id});
  if (served == generation->stores.end()) return Errno(ENOENT);
  ExportOptions options = *match->options;
  if (!peer.key.empty() && !keys_.ApplyOptions(peer.key, options)) return Errno(EACCES);
  auto attachment = std::make_shared<Attachment>();
  attachment->path = std::string(path);
  attachment->export_id = match->exported->id;
  attachment->store = served->second.store;
  attachment->read_only = options.read_only;
  attachment->sync = options.sync;
  attachment->wants_forget = served->second.wants_forget;
  attachment->squash = options.squash;
  return Found{std::move(attachment), match->below};
}

Store* ExportDirectory::StoreOf(uint32_t export_id) const {
  for (const auto& [key, served] : current()->stores) {
    if (key.second == export_id) return served.store.get();
  }
  return nullptr;
}

std::string ExportDirectory::Summary() const {
  std::string text;
  for (const auto& [key, served] : current()->stores) {
    absl::StrAppend(&text, text.empty() ? "" : " ", key.first);
  }
  return text.empty() ? "nothing" : text;
}

std::vector<std::pair<std::string, std::string>> ExportDirectory::List() const {
  std::vector<std::pair<std::string, std::string>> list;
  const std::shared_ptr<const Generation> generation = current();
  for (const Export& exported : generation->exports.all()) {
    std::string clients;
    for (const ExportRule& rule : exported.rules) {
      absl::StrAppend(&clients, clients.empty() ? "" : " ", rule.client.text(),
                      rule.options.read_only ? "(ro)" : "(rw)");
    }
    list.emplace_back(exported.path, std::move(clients));
  }
  return list;
}

}  // namespace rdmafs::server
