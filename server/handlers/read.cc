// READ: out of the page cache at once, on the shard, by the transport itself where it can; what the
// disk has, through the ring or a worker.
#include "server/channel.h"
#include "server/handlers/handlers.h"
#include "server/limits.h"
#include "server/server_context.h"
#include "server/shard.h"

namespace rdmafs::server {
namespace {

// From so many bytes on, files that are in memory are sent from there: it saves a copy and a block,
// and costs system calls to see whether they are, and the handling of each page by itself.
constexpr uint32_t kMinSendFileBytes = 128 << 10;

absl::Span<std::byte> Room(Call& call) {
  return call.buffer().payload().first(call.request<wire::ReadRequest>().size).subspan(call.done);
}

uint64_t Position(const Call& call) { return call.request<wire::ReadRequest>().offset + call.done; }

void AnswerRead(Call& call) {
  if (call.request<wire::ReadRequest>().size <= wire::kMaxInlineBytes) {
    call.AnswerInline(call.done);
  } else {
    call.AnswerPush(call.done);
  }
}

void ReadOnWorker(Call& call) {
  call.OnWorker([](Call& c) {
    Result<uint64_t> count = c.file().Read(Room(c), Position(c));
    // Bytes before an error are not given: a short answer would say that the file ends there.
    if (!count.ok()) return c.AnswerError(count.error());
    c.done += *count;
    AnswerRead(c);
  });
}

void ReadOnRing(Call& call);

void TakeRingResult(Call& call) {
  // What the ring cannot do, and every error, is the system call's to repeat and to report.
  if (call.io_result < 0) return ReadOnWorker(call);
  call.done += static_cast<uint64_t>(call.io_result);
  if (call.io_result != 0 && !Room(call).empty()) return ReadOnRing(call);
  AnswerRead(call);
  Call::Finish(call);
}

void ReadOnRing(Call& call) {
  IoRing* ring = call.shard().ring();
  const int fd = call.file().fd();
  if (ring == nullptr || fd < 0 ||
      !ring->Read(call, fd, Room(call), Position(call), TakeRingResult)) {
    ReadOnWorker(call);
  }
}

void ReadAtOnce(Call& call) {
  if (Room(call).empty()) {
    AnswerRead(call);
    return Call::Finish(call);
  }
  Result<uint64_t> count = call.file().ReadNoWait(Room(call), Position(call));
  if (!count.ok()) {
    if (count.error().value() == EAGAIN) return ReadOnRing(call);
    return call.Fail(count.error());
  }
  call.done = *count;
  AnswerRead(call);
  Call::Finish(call);
}

bool MaySendFile(Call& call) {
  const auto& request = call.request<wire::ReadRequest>();
  return request.size >= kMinSendFileBytes && call.channel().connection().pushes_files() &&
         call.file().fd() >= 0 && call.file().InMemory(request.offset, request.size);
}

}  // namespace

void ServeRead(Call& call) {
  const auto& request = call.request<wire::ReadRequest>();
  if (!call.Address(request.open_id, false)) return;
  // io_uring takes some offsets beyond for "where the file stands".
  if (request.offset > kMaxFileOffset - request.size) return call.Fail(Errno(EINVAL));
  if (MaySendFile(call)) {
    call.AnswerPushFile(request.offset, request.size);
    return Call::Finish(call);
  }
  const ServerContext& context = call.context();
  call.WithBuffer(request.size <= wire::kMaxInlineBytes ? context.messages : context.blocks,
                  ReadAtOnce);
}

}  // namespace rdmafs::server
