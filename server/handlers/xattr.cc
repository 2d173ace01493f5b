// The operations on extended attributes.
#include <string>

#include "server/handlers/handlers.h"
#include "server/handlers/serve_object.h"
#include "server/server_context.h"

namespace rdmafs::server {
namespace {

// Room for `size` bytes that go back inline or into the client's memory; none for a question of
// size.
void WithRoom(Call& call, uint32_t size, Call::Step next) {
  if (size == 0) return next(call);
  const ServerContext& context = call.context();
  call.WithBuffer(size <= wire::kMaxInlineBytes ? context.messages : context.blocks, next);
}

absl::Span<std::byte> Room(Call& call, uint32_t size) {
  return size == 0 ? absl::Span<std::byte>() : call.buffer().payload().first(size);
}

void AnswerValue(Call& call, uint32_t size, const Result<uint64_t>& count) {
  if (!count.ok()) return call.AnswerStoreError(count.error());
  if (size == 0) return call.AnswerCount(count);
  if (size <= wire::kMaxInlineBytes) return call.AnswerInline(*count);
  call.AnswerPush(*count);
}

}  // namespace

void ServeGetXattr(Call& call) {
  const auto& request = call.request<wire::GetXattrRequest>();
  if (!call.Address(request.handle, false)) return;
  WithRoom(call, request.size, [](Call& ready) {
    ready.OnWorker([](Call& c) {
      const auto& r = c.request<wire::GetXattrRequest>();
      AnswerValue(c, r.size,
                  c.store().GetXattr(c.IdentityOf(r.caller), r.handle, r.name, Room(c, r.size)));
    });
  });
}

void ServeListXattr(Call& call) {
  const auto& request = call.request<wire::ListXattrRequest>();
  if (!call.Address(request.handle, false)) return;
  WithRoom(call, request.size, [](Call& ready) {
    ready.OnWorker([](Call& c) {
      const auto& r = c.request<wire::ListXattrRequest>();
      AnswerValue(c, r.size,
                  c.store().ListXattr(c.IdentityOf(r.caller), r.handle, Room(c, r.size)));
    });
  });
}

void ServeSetXattr(Call& call) {
  if (!call.Address(call.request<wire::SetXattrRequest>().handle, true)) return;
  call.WithPayload([](Call& ready) {
    ready.OnWorker([](Call& c) {
      const auto& r = c.request<wire::SetXattrRequest>();
      std::string value;  // setxattr(2) wants it in one piece; it is small, and no data path
      for (const iovec& piece : c.pieces()) {
        value.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
      }
      c.AnswerStoreError(c.store().SetXattr(c.IdentityOf(r.caller), r.handle, r.name, value,
                                            r.flags,
                                            (r.options & wire::kSetXattrAclKillSgid) != 0));
    });
  });
}

void ServeRemoveXattr(Call& call) {
  ServeObject<wire::RemoveXattrRequest, Access::kChanges>(call, [](Call& c) {
    const auto& r = c.request<wire::RemoveXattrRequest>();
    c.AnswerStoreError(c.store().RemoveXattr(c.IdentityOf(r.caller), r.handle, r.name));
  });
}

}  // namespace rdmafs::server
