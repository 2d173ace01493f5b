#include "server/attachment.h"

#include <cstring>

namespace rdmafs::server {

uint32_t Attachment::flags() const {
  return (read_only ? uint32_t{wire::kAttachReadOnly} : 0) |
         (wants_forget ? uint32_t{wire::kAttachWantsForget} : 0);
}

bool Attachment::SameRules(const Attachment& other) const {
  return export_id == other.export_id && store == other.store && read_only == other.read_only &&
         sync == other.sync && squash == other.squash;
}

bool ExportIdOf(const wire::FileHandle& handle, uint32_t& export_id) {
  if (handle.size_bytes < sizeof export_id) return false;
  std::memcpy(&export_id, handle.bytes.data(), sizeof export_id);
  return true;
}

}  // namespace rdmafs::server
