// The operations on locks. The table never blocks: all of it is done on the shard.
#include "server/channel.h"
#include "server/grace_period.h"
#include "server/handlers/handlers.h"
#include "server/server_context.h"
#include "server/session.h"

namespace rdmafs::server {
namespace {

LockTable::Owner OwnerOf(Call& call, uint64_t owner) { return {call.session().number(), owner}; }

}  // namespace

void ServeGetLock(Call& call) {
  const auto& r = call.request<wire::GetLockRequest>();
  if (!call.Address(r.open_id, false)) return;
  call.Answer(wire::LockReply{call.context().locks.Get(
      call.file().id(), OwnerOf(call, r.range.owner), r.range, (r.flags & wire::kLockFlock) != 0)});
  Call::Finish(call);
}

namespace {

void SetLock(Call& call) {
  const auto& r = call.request<wire::SetLockRequest>();
  if (!call.Address(r.open_id, false)) return;
  if (call.cancelled) return call.Fail(Errno(EINTR));
  const bool wait = (r.flags & wire::kLockWait) != 0;
  // Lost while it waited for the end of the grace period: as a wait that had begun (OnClosed).
  if (wait && !call.channel().open()) {
    call.wait_lost = true;
    return call.Fail(Errno(EINTR));
  }
  // The answer may come now, or from any thread that makes room: either way by the loop.
  call.wait = call.context().locks.Set(
      call.file().id(), OwnerOf(call, r.range.owner), {call.session().number(), r.open_id}, r.range,
      (r.flags & wire::kLockFlock) != 0, wait,
      [&call](Result<Unit> result) {
        call.AnswerError(result.error());
        call.Resume(&Call::Finish);
      });
}

}  // namespace

void ServeSetLock(Call& call) {
  const auto& r = call.request<wire::SetLockRequest>();
  // What is taken again after a restart comes in the set-up slot.
  const bool may_conflict =
      r.range.type != wire::LockType::kUnlock && call.header().slot != wire::kSetUpSlot;
  GracePeriod& grace = call.context().grace;
  if (may_conflict && grace.active() && grace.Wait(call, SetLock)) return;
  SetLock(call);
}

void ServeCancel(Call& call) {
  const auto& r = call.request<wire::CancelRequest>();
  Call* waiting = call.channel().FindCall(r.slot, r.sequence);
  // One that is not there, or is no lock, has been answered before this came.
  if (waiting != nullptr) {
    waiting->cancelled = true;  // a replay has yet to begin its wait
    if (waiting->wait != 0) {
      call.context().locks.Cancel(waiting->wait);
    } else if (call.context().grace.StopWaiting(*waiting)) {
      waiting->Fail(Errno(EINTR));
    }
  }
  Call::Finish(call);
}

void ServeReleaseOwner(Call& call) {
  const auto& r = call.request<wire::ReleaseOwnerRequest>();
  if (!call.Address(r.open_id, false)) return;
  call.context().locks.ReleaseOwner(call.file().id(), OwnerOf(call, r.owner));
  Call::Finish(call);
}

}  // namespace rdmafs::server
