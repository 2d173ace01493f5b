// The operations on open files that are neither reads nor writes.
#include <algorithm>

#include "server/handlers/handlers.h"
#include "server/limits.h"

namespace rdmafs::server {

void ServeFsync(Call& call) {
  // Allowed on a read-only export, as on a read-only mount.
  if (!call.Address(call.request<wire::FsyncRequest>().open_id, false)) return;
  call.OnWorker([](Call& c) {
    c.AnswerError(c.file().Fsync(c.request<wire::FsyncRequest>().data_only != 0));
  });
}

void ServeFallocate(Call& call) {
  if (!call.Address(call.request<wire::FallocateRequest>().open_id, true)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::FallocateRequest>();
    c.AnswerError(c.file().Fallocate(c.IdentityOf(r.caller), r.offset, r.length, r.mode));
  });
}

void ServeSeek(Call& call) {
  if (!call.Address(call.request<wire::SeekRequest>().open_id, false)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::SeekRequest>();
    c.AnswerCount(c.file().Seek(r.offset, r.whence));
  });
}

void ServeCopyFileRange(Call& call) {
  const auto& request = call.request<wire::CopyFileRangeRequest>();
  if (request.flags != 0) return call.Fail(Errno(EINVAL));
  if (!call.AddressOther(request.in_id) || !call.Address(request.out_id, true)) return;
  if (call.other_open().attachment->export_id != call.attachment().export_id) {
    return call.Fail(Errno(EXDEV));
  }
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::CopyFileRangeRequest>();
    c.AnswerCount(c.other_open().file->CopyRange(c.IdentityOf(r.caller), r.in_offset, c.file(),
                                                 r.out_offset, std::min(r.length, kMaxCopyBytes)));
  });
}

}  // namespace rdmafs::server
