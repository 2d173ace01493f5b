// KeyRing: the keys that clients may prove, from the server's key file, as they are now.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/authentication.h"
#include "server/exports.h"

namespace rdmafs::server {

// Thread-safe.
class KeyRing {
 public:
  explicit KeyRing(std::string file) : file_(std::move(file)) {}

  // Reads the file. When that fails, all stays as it was. Blocks.
  absl::Status Load();
  bool loaded() const;
  size_t count() const;
  const std::string& file() const { return file_; }
  // Whether the file is another than the one that was read, and was the same at the last two
  // questions: one that is just being written is not read by half. True once for each change.
  // Blocks on a stat(2).
  bool HasChanged();

  struct Found {
    auth::Secret secret;
    KeyIdentity identity;
  };
  std::optional<Found> Find(std::string_view name) const;
  // Whether it is still a key here.
  bool Has(const KeyIdentity& identity) const;
  // Puts what the key's line says in the place of the export's own. False: no such key.
  bool ApplyOptions(std::string_view name, ExportOptions& options) const;

 private:
  struct Row {
    auth::Secret secret;
    auth::Digest fingerprint{};
    std::string options;
  };
  using Rows = std::map<std::string, Row, std::less<>>;
  std::shared_ptr<const Rows> rows() const;

  const std::string file_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const Rows> rows_ ABSL_GUARDED_BY(mutex_);
  std::string loaded_stamp_ ABSL_GUARDED_BY(mutex_);
  std::string seen_stamp_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::server
