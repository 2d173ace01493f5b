// READDIR: records into a block, and that into the client's memory.
#include "server/handlers/handlers.h"
#include "server/server_context.h"

namespace rdmafs::server {

void ServeReadDir(Call& call) {
  if (!call.Address(call.request<wire::ReadDirRequest>().open_id, false)) return;
  call.WithBuffer(call.context().blocks, [](Call& ready) {
    ready.OnWorker([](Call& c) {
      const auto& r = c.request<wire::ReadDirRequest>();
      Result<uint64_t> size =
          c.file().ReadDir(c.IdentityOf(r.caller), r.cookie, (r.options & wire::kReadDirPlus) != 0,
                           c.buffer().payload().first(r.size));
      if (!size.ok()) return c.AnswerError(size.error());
      c.AnswerPush(*size);
    });
  });
}

}  // namespace rdmafs::server
