// The operations on an object's attributes and on its file system.
#include <unistd.h>

#include "server/handlers/handlers.h"
#include "server/handlers/serve_object.h"

namespace rdmafs::server {
namespace {

// The handle's export, and the open file when the request names one: of that very object, or the
// peer mixes things up. False: the call is finished.
template <typename Request>
bool AddressObjectAndOpen(Call& call, bool changes) {
  const auto& r = call.request<Request>();
  if (!call.Address(r.handle, changes)) return false;
  if (r.open_id == 0) return true;
  if (!call.Address(r.open_id, changes)) return false;
  if (call.file().handle() == r.handle) return true;
  call.Breach("open file of another object");
  return false;
}

OpenFile* OpenOrNone(const Call& call) { return call.has_open() ? &call.file() : nullptr; }

}  // namespace

void ServeGetAttr(Call& call) {
  if (!AddressObjectAndOpen<wire::GetAttrRequest>(call, false)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::GetAttrRequest>();
    c.AnswerAttributes(c.store().GetAttr(c.IdentityOf(r.caller), r.handle, OpenOrNone(c)));
  });
}

void ServeSetAttr(Call& call) {
  if (!AddressObjectAndOpen<wire::SetAttrRequest>(call, true)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::SetAttrRequest>();
    c.AnswerAttributes(
        c.store().SetAttr(c.IdentityOf(r.caller), r.handle, OpenOrNone(c), r.changes));
    c.MakeDurable(r.handle);
  });
}

void ServeAccess(Call& call) {
  ServeObject<wire::AccessRequest, Access::kReads>(call, [](Call& c) {
    const auto& r = c.request<wire::AccessRequest>();
    Errno error = c.store().Access(c.IdentityOf(r.caller), r.handle, r.mask);
    if (error.ok() && (r.mask & W_OK) != 0 && c.attachment().read_only) error = Errno(EROFS);
    c.AnswerStoreError(error);
  });
}

void ServeStatFs(Call& call) {
  ServeObject<wire::StatFsRequest, Access::kReads>(call, [](Call& c) {
    const auto& r = c.request<wire::StatFsRequest>();
    auto statistics = c.store().StatFs(c.IdentityOf(r.caller), r.handle);
    if (!statistics.ok()) return c.AnswerStoreError(statistics.error());
    c.Answer(wire::StatFsReply{*statistics});
  });
}

void ServeSyncFs(Call& call) {
  ServeObject<wire::SyncFsRequest, Access::kReads>(call, [](Call& c) {
    c.AnswerStoreError(c.store().SyncFs(c.request<wire::SyncFsRequest>().handle));
  });
}

}  // namespace rdmafs::server
