// The operations on names in directories.
#include <cstring>

#include "server/handlers/handlers.h"
#include "server/handlers/serve_object.h"
#include "server/server_context.h"

namespace rdmafs::server {

void ServeLookup(Call& call) {
  ServeObject<wire::LookupRequest, Access::kReads>(call, [](Call& c) {
    const auto& r = c.request<wire::LookupRequest>();
    c.AnswerEntry(c.store().Lookup(c.IdentityOf(r.caller), r.parent, r.name));
  });
}

void ServeMkNod(Call& call) {
  ServeObject<wire::MkNodRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::MkNodRequest>();
    c.AnswerMade(c.store().MkNod(c.IdentityOf(r.caller), r.parent, r.name, r.mode, r.rdev_major,
                                 r.rdev_minor),
                 r.parent);
    c.MakeDurable(r.parent);
  });
}

void ServeMkDir(Call& call) {
  ServeObject<wire::MkDirRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::MkDirRequest>();
    c.AnswerMade(c.store().MkDir(c.IdentityOf(r.caller), r.parent, r.name, r.mode), r.parent);
    c.MakeDurable(r.parent);
  });
}

void ServeUnlink(Call& call) {
  ServeObject<wire::UnlinkRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::UnlinkRequest>();
    c.AnswerNames(c.store().Unlink(c.IdentityOf(r.caller), r.parent, r.name), r.parent);
    c.MakeDurable(r.parent);
  });
}

void ServeRmDir(Call& call) {
  ServeObject<wire::RmDirRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::RmDirRequest>();
    c.AnswerNames(c.store().RmDir(c.IdentityOf(r.caller), r.parent, r.name), r.parent);
    c.MakeDurable(r.parent);
  });
}

void ServeSymLink(Call& call) {
  ServeObject<wire::SymLinkRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::SymLinkRequest>();
    c.AnswerMade(c.store().SymLink(c.IdentityOf(r.caller), r.parent, r.name, c.inline_text()),
                 r.parent);
    c.MakeDurable(r.parent);
  });
}

namespace {

// Two directories of one call: of two exports, they are as two file systems.
template <typename Request>
void ServeTwoObjects(Call& call, const wire::FileHandle& first, Call::Step work) {
  if (!call.Address(call.request<Request>().new_parent, true)) return;
  const uint32_t export_id = call.attachment().export_id;
  if (!call.Address(first, true)) return;
  if (call.attachment().export_id != export_id) return call.Fail(Errno(EXDEV));
  call.OnWorker(work);
}

}  // namespace

void ServeRename(Call& call) {
  ServeTwoObjects<wire::RenameRequest>(
      call, call.request<wire::RenameRequest>().parent, [](Call& c) {
        const auto& r = c.request<wire::RenameRequest>();
        c.AnswerNames(c.store().Rename(c.IdentityOf(r.caller), r.parent, r.name, r.new_parent,
                                       r.new_name, r.flags),
                      r.new_parent);
        c.MakeDurable(r.new_parent);
      });
}

void ServeLink(Call& call) {
  ServeTwoObjects<wire::LinkRequest>(call, call.request<wire::LinkRequest>().handle, [](Call& c) {
    const auto& r = c.request<wire::LinkRequest>();
    c.AnswerMade(c.store().Link(c.IdentityOf(r.caller), r.handle, r.new_parent, r.new_name),
                 r.new_parent);
    c.MakeDurable(r.new_parent);
  });
}

void ServeReadLink(Call& call) {
  if (!call.Address(call.request<wire::ReadLinkRequest>().handle, false)) return;
  call.WithBuffer(call.context().messages, [](Call& ready) {
    ready.OnWorker([](Call& c) {
      const auto& r = c.request<wire::ReadLinkRequest>();
      Result<std::string> target = c.store().ReadLink(c.IdentityOf(r.caller), r.handle);
      if (!target.ok()) return c.AnswerStoreError(target.error());
      if (target->size() > wire::kMaxPathBytes) return c.AnswerError(Errno(ENAMETOOLONG));
      std::memcpy(c.buffer().data(), target->data(), target->size());
      c.AnswerInline(target->size());
    });
  });
}

void ServeForget(Call& call) {
  ServeObject<wire::ForgetRequest, Access::kReads>(
      call, [](Call& c) { c.store().Forget(c.request<wire::ForgetRequest>().handle); });
}

}  // namespace rdmafs::server
