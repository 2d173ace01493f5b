// ExportDirectory: the exports of this server, each with its store.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/attachment.h"
#include "server/client_pattern.h"
#include "server/exports.h"
#include "server/handle_key.h"
#include "server/key_ring.h"
#include "server/options.h"
#include "transport/base/clock.h"

namespace rdmafs::server {

// Thread-safe. A directory of the exports file that cannot be served is left out with a line in the
// log, as the others have nothing to do with it; one of the command line is an error.
class ExportDirectory final : public ExportSource {
 public:
  // The configuration's directories, or its exports file. Reads the keys, when one asks for them.
  // Blocks. `clock` and `keys` outlive this.
  static absl::StatusOr<std::unique_ptr<ExportDirectory>> Open(
      const ServerConfiguration& configuration, const Clock& clock, KeyRing& keys);
  // Reads the file again. When that fails, all stays as it was. Blocks.
  absl::Status Reload();

  SecurityFlavors Offered() const override;
  Result<Found> Find(const Exports::Peer& peer, std::string_view path) override;

  // The store that `export_id` is in handles; nullptr: there is none. Lives until the next
  // Reload().
  Store* StoreOf(uint32_t export_id) const;

  // "/srv/data", "/srv/a /srv/b", for the log.
  std::string Summary() const;
  // Path and clients of each, as they were written.
  std::vector<std::pair<std::string, std::string>> List() const;

 private:
  // What one reading of the exports gave; immutable.
  struct Generation {
    explicit Generation(Exports read) : exports(std::move(read)) {}
    const Exports exports;
    const SecurityFlavors offered = exports.offered();
    struct Served {
      std::shared_ptr<Store> store;
      bool wants_forget;
      bool cross_mounts;
    };
    std::map<std::pair<std::string, uint32_t>, Served> stores;  // by path and id
  };

  ExportDirectory(const ServerConfiguration& configuration, const HandleKey& key,
                  const Clock& clock, KeyRing& keys)
      : configuration_(configuration), key_(key), clock_(clock), keys_(keys) {}
  absl::StatusOr<Exports> Read() const;
  absl::Status Serve(Exports exports);
  absl::StatusOr<Generation::Served> OpenStore(const Export& exported) const;
  std::shared_ptr<const Generation> current() const;

  const ServerConfiguration configuration_;
  const HandleKey key_;
  const Clock& clock_;
  KeyRing& keys_;
  SystemHostNames names_;  // thread-safe

  mutable absl::Mutex mutex_;
  std::shared_ptr<const Generation> current_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::server
