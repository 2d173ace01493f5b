#include "server/key_ring.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "transport/auth/key_file.h"

namespace rdmafs::server {
namespace {

// What a key's line may say: whom its clients' users are taken for, and that they only read.
absl::Status CheckOptions(const auth::Key& key) {
  for (absl::string_view option : absl::StrSplit(key.options, ',', absl::SkipEmpty())) {
    const bool known = option == "ro" || option == "root_squash" || option == "no_root_squash" ||
                       option == "all_squash" || option == "no_all_squash" ||
                       absl::StartsWith(option, "anonuid=") || absl::StartsWith(option, "anongid=");
    if (!known) {
      return absl::InvalidArgumentError(
          absl::StrCat("option ", option, ": not one that a key can have"));
    }
  }
  ExportOptions unused;
  return ApplyExportOptions(key.options, unused);
}

}  // namespace

absl::Status KeyRing::Load() {
  // Before the content: what changes meanwhile is seen by the next question.
  std::string stamp = auth::KeyFileStamp(file_);
  absl::StatusOr<std::vector<auth::Key>> keys = auth::LoadKeys(file_);
  auto rows = std::make_shared<Rows>();
  absl::Status status = keys.status();
  if (keys.ok()) {
    for (const auth::Key& key : *keys) {
      if (absl::Status options = CheckOptions(key); !options.ok()) {
        status = absl::InvalidArgumentError(
            absl::StrCat(file_, ": key ", key.name, ": ", options.message()));
      }
      rows->emplace(key.name, Row{key.secret, auth::Fingerprint(key), key.options});
    }
  }
  absl::MutexLock lock(&mutex_);
  // A file with a fault is told of once, and read again when it has changed again.
  loaded_stamp_ = seen_stamp_ = std::move(stamp);
  if (status.ok()) rows_ = std::move(rows);
  return status;
}

bool KeyRing::loaded() const { return rows() != nullptr; }

size_t KeyRing::count() const {
  const auto now = rows();
  return now == nullptr ? 0 : now->size();
}

bool KeyRing::HasChanged() {
  std::string stamp = auth::KeyFileStamp(file_);
  absl::MutexLock lock(&mutex_);
  const bool settled = stamp == seen_stamp_;
  seen_stamp_ = stamp;
  if (!settled || stamp == loaded_stamp_) return false;
  loaded_stamp_ = std::move(stamp);
  return true;
}

std::optional<KeyRing::Found> KeyRing::Find(std::string_view name) const {
  const auto now = rows();
  if (now == nullptr) return std::nullopt;
  auto found = now->find(name);
  if (found == now->end()) return std::nullopt;
  return Found{found->second.secret, {found->first, found->second.fingerprint}};
}

bool KeyRing::Has(const KeyIdentity& identity) const {
  const auto found = Find(identity.name);
  return found && found->identity == identity;
}

bool KeyRing::ApplyOptions(std::string_view name, ExportOptions& options) const {
  const auto now = rows();
  if (now == nullptr) return false;
  auto found = now->find(name);
  return found != now->end() && ApplyExportOptions(found->second.options, options).ok();
}

std::shared_ptr<const KeyRing::Rows> KeyRing::rows() const {
  absl::MutexLock lock(&mutex_);
  return rows_;
}

}  // namespace rdmafs::server
