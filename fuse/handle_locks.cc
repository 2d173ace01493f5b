// GETLK, SETLK, SETLKW, FLUSH, INTERRUPT.
#include <fcntl.h>

#include "fuse/attributes.h"
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

// Answers a lock that was granted. Who holds it is to read what its last holder, perhaps on another
// mount, has written: what the kernel has cached is not believed any more, unless the server says
// that the file is the same.
void AnswerGranted(Context& context, const Ticket& ticket, Node& node, OpenId open_id) {
  if (context.settings().cache == CacheMode::kAlways) {
    context.Answer(ticket, kOk);
    return;
  }
  if (!node.may_have_pages.load(std::memory_order_relaxed)) {
    InvalidateAttributes(context, node);
    context.Answer(ticket, kOk);
    return;
  }
  // The node stands until the answer, also when its caller is gone before.
  const auto kept = context.nodes().Remember(node.handle);
  if (!kept || kept->node != &node) {  // he is
    if (kept) ForgetLookups(context, kept->node->id, 1);
    context.Answer(ticket, kOk);
    return;
  }
  auto answer = [&context, ticket, &node] {
    ForgetLookups(context, node.id, 1);
    context.Answer(ticket, kOk);
  };
  context.file_system().GetAttr(
      Caller{}, node.handle, open_id, [&context, &node, answer](Result<Attributes> now) {
        const bool settled = now.ok() && (now->flags & wire::kUnsettled) == 0;
        const FileStamp stamp = now.ok() ? FileStamp::Of(*now) : FileStamp{};
        PageCachePolicy::OpenDecision decision;
        {
          absl::MutexLock lock(&node.mutex);
          decision = node.cache.OnOpen(stamp, settled, CacheMode::kAuto);
        }
        if (decision.keep_pages) return answer();
        node.may_have_pages.store(false, std::memory_order_relaxed);
        context.DropPages(node.id, [&node, answer] {
          SeeDropped(node);
          answer();
        });
      });
}

// A call that does not wait. When another owner's lock is in the way, he may have closed his file
// already: then the call is made `again`, once.
struct LockCall {
  Context& context;
  Ticket ticket;
  Node& node;
  OpenId open_id;
  LockRange range;
  uint32_t flags;
  bool again = false;

  bool unlocks() const { return range.type == wire::LockType::kUnlock; }

  // Behind the releases that came before it; `otherwise` is done when there was none.
  template <typename Function, typename Otherwise>
  void AskAgain(uint64_t ended_count, Function function, Otherwise otherwise) const {
    context.AfterLockReleases(node.id, ended_count,
                              [call = *this, function, otherwise](bool released) mutable {
                                if (!released) return otherwise();
                                call.again = true;
                                function(call);
                              });
  }
};

void GetLock(const LockCall& call) {
  const uint64_t ended_count = call.context.lock_releases().ended_count();
  call.context.file_system().GetLock(
      call.open_id, call.range, call.flags, [call, ended_count](Result<LockRange> result) {
        auto answer = [call, result] {
          call.context.Answer(
              call.ticket, result.error(),
              result.ok() ? BytesOf(ToKernel(*result)) : absl::Span<const std::byte>());
        };
        const bool in_the_way = result.ok() && result->type != wire::LockType::kUnlock;
        in_the_way && !call.again ? call.AskAgain(ended_count, GetLock, answer) : answer();
      });
}

void Answer(const LockCall& call, const Result<Unit>& result) {
  if (result.ok() && !call.unlocks())
    return AnswerGranted(call.context, call.ticket, call.node, call.open_id);
  call.context.Answer(call.ticket, result);
}

void SetLock(const LockCall& call) {
  const uint64_t ended_count = call.context.lock_releases().ended_count();
  call.context.file_system().SetLock(
      call.open_id, call.range, call.flags, [call, ended_count](Result<Unit> result) {
        auto answer = [call, result] { Answer(call, result); };
        const bool in_the_way = result.error() == Errno(EAGAIN);
        in_the_way && !call.again ? call.AskAgain(ended_count, SetLock, answer) : answer();
      });
}

// Until the lock is free, or the caller is interrupted.
void WaitForLock(const LockCall& call) {
  Context& context = call.context;
  const CancelToken token = context.file_system().SetLock(
      call.open_id, call.range, call.flags | wire::kLockWait, [call](Result<Unit> result) {
        call.context.lock_waits().Remove(call.ticket.unique);
        Answer(call, result);
      });
  if (token == 0) return;
  if (!context.lock_waits().Add(call.ticket.unique, {context.shard(), token})) {
    context.file_system().CancelLock(token);
  }
}

}  // namespace

void HandleGetLock(Context& context, Request& request) {
  Arguments arguments = request.reader();
  fuse_lk_in in;
  if (!arguments.Take(in)) return AnswerMalformed(context, request, arguments);
  const OpenId open_id = FindOpenFile(context, request, in.fh);
  if (open_id == 0) return;
  Node* node = FindNode(context, request);
  if (node == nullptr) return;
  const uint32_t flags = (in.lk_flags & FUSE_LK_FLOCK) != 0 ? uint32_t{wire::kLockFlock} : 0;
  GetLock({context, request.ticket, *node, open_id, ToServer(in), flags});
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
  const uint32_t flags = flock ? uint32_t{wire::kLockFlock} : 0;
  const LockCall call{context, request.ticket, *node, open_id, range, flags};
  if (wait) return WaitForLock(call);
  if (call.unlocks() && context.settings().writeback &&
      node->may_have_pages.load(std::memory_order_relaxed)) {
    // What was written under the lock is the server's before another one gets it: the kernel hands
    // in what it drops.
    return context.DropPages(node->id, [call] { SetLock(call); });
  }
  SetLock(call);
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
