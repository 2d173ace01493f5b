#include "server/attachment.h"

#include <cstring>

namespace rdmafs::server {

Identity Attachment::IdentityOf(const wire::Caller& caller) const {
  if (all_squash || (root_squash && caller.uid == 0)) return {anon_uid, anon_gid, caller.umask, {}};
  return {caller.uid, root_squash && caller.gid == 0 ? anon_gid : caller.gid, caller.umask,
          caller.groups};
}

bool ExportIdOf(const wire::FileHandle& handle, uint32_t& export_id) {
  if (handle.size_bytes < sizeof export_id) return false;
  std::memcpy(&export_id, handle.bytes.data(), sizeof export_id);
  return true;
}

}  // namespace rdmafs::server
