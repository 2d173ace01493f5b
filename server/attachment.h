// Attachment: what a session may do below one export, and ExportSource: where attachments come
// from.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/exports.h"
#include "server/squash.h"
#include "server/store.h"

namespace rdmafs::server {

// Immutable once made, but for `revoked`; shared by the session, its open files and the calls under
// way.
struct Attachment {
  std::string path;  // as the client asked for it
  uint32_t export_id = 0;
  std::shared_ptr<Store> store;
  bool read_only = false;
  bool sync = false;          // every change is on the disk before its reply
  bool wants_forget = false;  // the store keeps a table of the objects that clients know
  SquashRule squash;
  // The export is gone, or no longer for this client: all that goes through this is ESTALE.
  mutable std::atomic<bool> revoked{false};

  // wire::AttachFlags.
  uint32_t flags() const;
  // Whether both say the same, whatever path was asked for.
  bool SameRules(const Attachment& other) const;
};

// The export that `handle` says it belongs to; the store checks the handle itself. False for one
// that is too short to say.
bool ExportIdOf(const wire::FileHandle& handle, uint32_t& export_id);

// Thread-safe.
class ExportSource {
 public:
  struct Found {
    std::shared_ptr<const Attachment> attachment;
    std::string below;  // of the export; "" is the export itself
  };
  virtual ~ExportSource() = default;
  // ENOENT: no export covers `path`. EACCES, ENOKEY, EOPNOTSUPP: see Exports::Find(). Blocks:
  // worker threads.
  virtual Result<Found> Find(const Exports::Peer& peer, std::string_view path) = 0;
  // How any client may say who it is. Does not block.
  virtual SecurityFlavors Offered() const { return {}; }
};

}  // namespace rdmafs::server
