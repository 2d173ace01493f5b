// TlsFiles: the context of the next connection, made of files that others may have taken the place
// of.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {

// Thread-safe. Connections keep the context that they began with.
class TlsFiles {
 public:
  // Reads the files.
  using Make = std::function<absl::StatusOr<std::shared_ptr<const TlsContext>>()>;

  // `files`: what `make` reads; "" among them is none.
  TlsFiles(const std::vector<std::string>& files, Make make);

  // Whether there is anything to be read again.
  bool has_files() const { return !files_.empty(); }
  // Reads them. When that fails, all stays as it was. Blocks.
  absl::Status Load();
  // The same when they are others than were read last, good or bad; nothing when they are not.
  // Blocks on a stat(2) of each.
  std::optional<absl::Status> LoadIfChanged();
  // Not before the first Load() has gone well.
  std::shared_ptr<const TlsContext> context() const;

 private:
  std::string Stamp() const;

  std::vector<std::string> files_;
  const Make make_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const TlsContext> context_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // of the files that were read last
};

}  // namespace rdmafs
