// GETLK, SETLK, SETLKW, FLUSH, INTERRUPT.
#include <fcntl.h>

#include "fuse/caller.h"
#include "fuse/handlers.h"

namespace rdmafs::fuse {
namespace {

LockRange ToServer(const fuse_lk_in& in) {
  LockRange range{};
  range.owner = in.owner;
  range.start = in.lk.start;
  range.end = in.lk.end;
  range.pid = in.lk.pid;
  range.type = in.lk.type == F_RDLCK   ? wire::LockType::kRead
               : in.lk.type == F_WRLCK ? wire::LockType::kWrite
                                       : wire::LockType::kUnlock;
  return range;
}

fuse_lk_out ToKernel(const LockRange& range) {
  fuse_lk_out out{};
  out.lk.start = range.start;
  out.lk.end = range.end;
  out.lk.pid = range.pid;
  out.lk.type = range.type == wire::LockType::kRead    ? F_RDLCK
                : range.type == wire::LockType::kWrite ? F_WRLCK
                                                       : F_UNLCK;
  return out;
}

}  // namespace

void HandleGetLock(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_lk_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  const uint32_t flags = (in.lk_flags & FUSE_LK_FLOCK) != 0 ? uint32_t{wire::kLockFlock} : 0;
  context.file_system().GetLock(
      open_id, ToServer(in), flags,
      [context = &context, ticket = request.ticket](Result<LockRange> result) {
        if (!result.ok()) {
          context->Answer(ticket, result.error());
          return;
        }
        context->Answer(ticket, kOk, BytesOf(ToKernel(*result)));
      });
}

void HandleSetLock(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_lk_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const LockRange range = ToServer(in);
  const bool flock = (in.lk_flags & FUSE_LK_FLOCK) != 0;
  const bool wait = request.header.opcode == FUSE_SETLKW && range.type != wire::LockType::kUnlock;
  if (!flock && range.type != wire::LockType::kUnlock) {
    node->has_locks.store(true, std::memory_order_relaxed);
  }
  const uint32_t flags = (flock ? wire::kLockFlock : 0u) | (wait ? wire::kLockWait : 0u);
  const Ticket ticket = request.ticket;
  const CancelToken token = context.file_system().SetLock(
      open_id, range, flags, [context = &context, ticket, wait](Result<Unit> result) {
        if (wait) context->lock_waits().Remove(ticket.unique);
        context->Answer(ticket, result);
      });
  if (!wait || token == 0) return;
  if (!context.lock_waits().Add(ticket.unique, {context.shard(), token})) {
    context.file_system().CancelLock(token);
  }
}

void HandleFlush(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_flush_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  // Every write had its own answer, so there is nothing to hand in but the locks.
  if (!node->has_locks.load(std::memory_order_relaxed) &&
      !context.file_system().HasLostWrites(open_id)) {
    context.Answer(request.ticket, kOk);
    return;
  }
  context.AddFlush(request.ticket, request.header.pid);
  context.file_system().ReleaseOwner(
      open_id, in.lock_owner, [context = &context, ticket = request.ticket](Result<Unit> result) {
        context->Answer(ticket, result);
      });
}

// Has no answer. A lock's wait is given up; any other request only when the server is away.
void HandleInterrupt(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_interrupt_in in;
  if (arguments.Take(in)) context.Interrupt(in.unique);
  context.Count(request.ticket, kOk);
}

}  // namespace rdmafs::fuse
