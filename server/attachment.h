// Attachment: what a session may do below one export, and ExportSource: where attachments come
// from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "server/store.h"

namespace rdmafs::server {

// Immutable once made; shared by the session, its open files and the calls under way.
struct Attachment {
  uint32_t export_id = 0;
  std::shared_ptr<Store> store;
  bool read_only = false;
  bool root_squash = true;
  bool all_squash = false;
  uint32_t anon_uid = 65534, anon_gid = 65534;

  // wire::AttachFlags.
  uint32_t flags() const { return read_only ? uint32_t{wire::kAttachReadOnly} : 0; }
  // Who `caller` is here. The groups are a view of the caller's.
  Identity IdentityOf(const wire::Caller& caller) const;
};

// The export that `handle` says it belongs to; the store checks the handle itself. False for one
// that is too short to say.
bool ExportIdOf(const wire::FileHandle& handle, uint32_t& export_id);

// Thread-safe.
class ExportSource {
 public:
  struct Found {
    std::shared_ptr<const Attachment> attachment;
    std::string path;  // below the export; "" is the export itself
  };
  virtual ~ExportSource() = default;
  // ENOENT: no export covers `path`. EACCES: none that does is for this peer. Blocks: worker
  // threads.
  virtual Result<Found> Find(std::string_view peer_host, std::string_view path) = 0;
};

}  // namespace rdmafs::server
