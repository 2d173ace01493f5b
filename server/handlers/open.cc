// OPEN, CREATE, TMPFILE and RELEASE: how files come into a session's table and leave it.
#include <fcntl.h>
#include <sys/stat.h>

#include "server/handlers/handlers.h"
#include "server/server_context.h"
#include "server/session.h"

namespace rdmafs::server {
namespace {

// On a `sync` export every write is as if the file had been opened with O_SYNC.
uint32_t WithSync(const Call& call, uint32_t flags) {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  return writes && call.attachment().sync ? flags | static_cast<uint32_t>(O_SYNC) : flags;
}

bool Changes(uint32_t flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0; }

// Takes the id before the file is opened. False: the call is finished.
bool Reserve(Call& call, wire::OpenId id) {
  switch (call.session().opens().Reserve(id)) {
    case OpenTable::Reserved::kOk:
      return true;
    case OpenTable::Reserved::kDuplicate:
      call.Breach("open id in use");
      return false;
    case OpenTable::Reserved::kFull:
      call.Fail(Errno(ENFILE));
      return false;
  }
  return false;
}

// Puts what the store opened behind its id, or gives the id back. Worker thread. nullptr when it is
// not there.
std::shared_ptr<OpenEntry> Keep(Call& call, wire::OpenId id, Result<Store::Opened>& opened) {
  OpenTable& opens = call.session().opens();
  if (!opened.ok()) {
    opens.Abandon(id);
    call.AnswerStoreError(opened.error());
    return nullptr;
  }
  auto entry = std::make_shared<OpenEntry>();
  entry->file = std::move(opened->file);
  entry->attachment = call.shared_attachment();
  // False: the session ended meanwhile, and nobody will see the answer. The file closes here.
  return opens.Fill(id, entry) ? entry : nullptr;
}

}  // namespace

namespace {

// A file stays open whatever its mode becomes, and may be made with one that lets nobody write. Its
// owner could change the mode anyway.
Result<Store::Opened> OpenAgain(Call& call, const Identity& identity,
                                const wire::FileHandle& handle, uint32_t flags) {
  auto opened = call.store().Open(identity, handle, WithSync(call, flags), false);
  if (opened.ok() || opened.error() != Errno(EACCES)) return opened;
  auto attributes = call.store().GetAttr(identity, handle, nullptr);
  if (!attributes.ok() || attributes->uid != identity.uid) return opened;
  return call.store().Open(Identity{.umask = 022}, handle, WithSync(call, flags), false);
}

}  // namespace

Errno OpenCreatedAgain(Call& call, const wire::CreateRequest& request,
                       const wire::FileHandle& handle) {
  if (Errno error = call.AddressAgain(handle, Changes(request.flags)); !error.ok()) return error;
  OpenTable& opens = call.session().opens();
  switch (opens.Reserve(request.open_id)) {
    case OpenTable::Reserved::kOk:
      break;
    case OpenTable::Reserved::kFull:
      return Errno(ENFILE);
    case OpenTable::Reserved::kDuplicate: {  // asked for the second time
      const std::shared_ptr<OpenEntry> open = opens.Find(request.open_id);
      return open != nullptr && open->file->handle() == handle ? kOk : Errno(EBADF);
    }
  }
  const uint32_t flags =
      request.flags & ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY);
  auto opened = OpenAgain(call, call.IdentityOf(request.caller), handle, flags);
  if (!opened.ok()) {
    opens.Abandon(request.open_id);
    return opened.error();
  }
  Keep(call, request.open_id, opened);
  return kOk;
}

namespace {

// What was asked for of a file that is no larger, into the call's buffer. It is read after its
// attributes: what comes with them is never older. What cannot be read, READ will say.
void AnswerFirstBytes(Call& call, OpenEntry& open, const wire::Attributes& attributes) {
  const uint32_t wanted = call.request<wire::OpenRequest>().read_size;
  if (wanted == 0 || !S_ISREG(attributes.mode) || attributes.size > wanted) return;
  const Result<uint64_t> count = open.file->Read(call.buffer().payload().first(attributes.size), 0);
  if (!count.ok()) return;
  wanted <= wire::kMaxInlineBytes ? call.AnswerInline(*count) : call.AnswerPush(*count);
}

void OpenOnWorker(Call& call) {
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::OpenRequest>();
    // A client that opens again after a restart of the server repeats the flags of its create.
    const uint32_t flags = r.flags & ~static_cast<uint32_t>(O_CREAT | O_EXCL | O_NOCTTY);
    const Identity identity = c.IdentityOf(r.caller);
    auto opened = (r.options & wire::kOpenAgain) != 0
                      ? OpenAgain(c, identity, r.handle, flags)
                      : c.store().Open(identity, r.handle, WithSync(c, flags),
                                       (r.options & wire::kOpenKillSuidGid) != 0);
    const std::shared_ptr<OpenEntry> open = Keep(c, r.open_id, opened);
    if (open == nullptr) return;
    c.Answer(wire::AttributesReply{opened->entry.attributes});
    AnswerFirstBytes(c, *open, opened->entry.attributes);
  });
}

}  // namespace

void ServeOpen(Call& call) {
  const auto& request = call.request<wire::OpenRequest>();
  if (!call.Address(request.handle, Changes(request.flags)) || !Reserve(call, request.open_id))
    return;
  if (request.read_size == 0) return OpenOnWorker(call);
  const ServerContext& context = call.context();
  call.WithBuffer(request.read_size <= wire::kMaxInlineBytes ? context.messages : context.blocks,
                  OpenOnWorker);
}

void ServeCreate(Call& call) {
  const auto& request = call.request<wire::CreateRequest>();
  if (!call.Address(request.parent, true) || !Reserve(call, request.open_id)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::CreateRequest>();
    auto opened = c.store().Create(c.IdentityOf(r.caller), r.parent, r.name, WithSync(c, r.flags),
                                   r.mode, (r.options & wire::kOpenKillSuidGid) != 0);
    if (Keep(c, r.open_id, opened)) c.AnswerMade(opened->entry, r.parent);
    c.MakeDurable(r.parent);
  });
}

void ServeTmpFile(Call& call) {
  const auto& request = call.request<wire::TmpFileRequest>();
  if (!call.Address(request.parent, true) || !Reserve(call, request.open_id)) return;
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::TmpFileRequest>();
    auto opened = c.store().TmpFile(c.IdentityOf(r.caller), r.parent, WithSync(c, r.flags), r.mode);
    if (Keep(c, r.open_id, opened)) c.AnswerEntry(opened->entry);
  });
}

void ServeRelease(Call& call) {
  const wire::OpenId id = call.request<wire::ReleaseRequest>().open_id;
  if (!call.TakeOpen(id)) return;
  call.context().locks.ReleaseThrough(call.file().id(), {call.session().number(), id});
  // The last close of a large unlinked file frees its blocks: that takes time.
  call.OnWorker([](Call& c) { c.DropOpen(); });
}

}  // namespace rdmafs::server
