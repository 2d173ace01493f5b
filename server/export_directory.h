// ExportDirectory: the exports of this server, each with its store.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/attachment.h"
#include "server/options.h"
#include "transport/base/clock.h"

namespace rdmafs::server {

// Thread-safe.
class ExportDirectory final : public ExportSource {
 public:
  // The configuration's directories, or its exports file. Blocks.
  static absl::StatusOr<std::unique_ptr<ExportDirectory>> Open(
      const ServerConfiguration& configuration, const Clock& clock);
  // Reads the file again. When that fails, all stays as it was.
  absl::Status Reload();

  Result<Found> Find(std::string_view peer_host, std::string_view path) override;

  // "/srv/data", "/srv/a /srv/b", for the log.
  std::string Summary() const;
  // Path and options of each.
  std::vector<std::pair<std::string, std::string>> List() const;

 private:
  ExportDirectory() = default;
  std::vector<std::pair<std::string, std::shared_ptr<const Attachment>>> exports_;
};

}  // namespace rdmafs::server
