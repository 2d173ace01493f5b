// WRITE: from the message or the pulled block, at once on the shard, else through the ring or a
// worker; or by the transport as it arrives, where that waits for nothing.
#include <fcntl.h>

#include "server/channel.h"
#include "server/handlers/handlers.h"
#include "server/limits.h"
#include "server/server_context.h"
#include "server/shard.h"

namespace rdmafs::server {
namespace {

// From so many bytes on payload goes past the block into a file that is memory; less takes as long
// either way.
constexpr uint32_t kMinWriteThroughBytes = 256 << 10;

uint64_t Position(const Call& call) {
  return call.request<wire::WriteRequest>().offset + call.done;
}

// An error met after some bytes were written is the next write's to report, as write(2) does it.
void AnswerWritten(Call& call, Errno error) {
  if (!error.ok() && call.done == 0) return call.AnswerError(error);
  call.Answer(wire::CountReply{call.done});
}

void WriteOnWorker(Call& call) {
  call.OnWorker([](Call& c) {
    const auto& r = c.request<wire::WriteRequest>();
    const bool kill = (r.options & wire::kWriteKillSuidGid) != 0;
    wire::Caller caller;
    caller.uid = r.uid;
    caller.gid = r.gid;
    Result<uint64_t> count = c.file().Write(c.pieces(), Position(c), kill, c.IdentityOf(caller));
    if (count.ok()) c.done += *count;
    AnswerWritten(c, count.error());
  });
}

void WriteOnRing(Call& call);

void TakeRingResult(Call& call) {
  // What the ring cannot do, and every error, is the system call's to repeat and to report.
  if (call.io_result <= 0) return WriteOnWorker(call);
  call.done += static_cast<uint64_t>(call.io_result);
  call.ConsumePieces(static_cast<size_t>(call.io_result));
  if (!call.pieces().empty()) return WriteOnRing(call);
  AnswerWritten(call, kOk);
  Call::Finish(call);
}

void WriteOnRing(Call& call) {
  IoRing* ring = call.shard().ring();
  const int fd = call.file().fd();
  if (ring == nullptr || fd < 0 ||
      !ring->Write(call, fd, call.pieces(), Position(call), TakeRingResult)) {
    WriteOnWorker(call);
  }
}

void WriteAtOnce(Call& call) {
  while (!call.pieces().empty()) {
    Result<uint64_t> count = call.file().WriteNoWait(call.pieces(), Position(call));
    if (!count.ok() && count.error().value() == EAGAIN) return WriteOnRing(call);
    if (!count.ok() || *count == 0) {
      AnswerWritten(call, count.error());
      return Call::Finish(call);
    }
    call.done += *count;
    call.ConsumePieces(*count);
  }
  AnswerWritten(call, kOk);
  Call::Finish(call);
}

// An append is one system call, so that no other's bytes come between its own; and the clearing of
// suid bits needs the caller's identity.
void WriteAsAsked(Call& call) {
  const bool kill = (call.request<wire::WriteRequest>().options & wire::kWriteKillSuidGid) != 0;
  if (kill || call.appending) return WriteOnWorker(call);
  WriteAtOnce(call);
}

// Where that waits for nothing, and no one's identity counts.
bool MayWriteThrough(const Call& call) {
  const auto& request = call.request<wire::WriteRequest>();
  return request.size >= kMinWriteThroughBytes && !call.appending &&
         (request.options & wire::kWriteKillSuidGid) == 0 && call.file().fd() >= 0 &&
         call.file().WritesNeverWait();
}

void TakePayload(Call& call) {
  if (!call.channel().open()) return Call::Finish(call);
  if (MayWriteThrough(call)) return call.WithPayloadThroughFile(Position(call), WriteAsAsked);
  call.WithPayload(WriteAsAsked);
}

}  // namespace

void ServeWrite(Call& call) {
  if (!call.Address(call.request<wire::WriteRequest>().open_id, true)) return;
  const auto& request = call.request<wire::WriteRequest>();
  const bool append = (call.file().flags() & O_APPEND) != 0;
  // io_uring takes some offsets beyond for "where the file stands".
  if (!append && request.offset > kMaxFileOffset - request.size) return call.Fail(Errno(EINVAL));
  if (!append) return TakePayload(call);
  if (call.WaitForAppend(TakePayload)) TakePayload(call);
}

}  // namespace rdmafs::server
