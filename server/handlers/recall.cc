// RECALL: what became of a call of a session that is over.
#include <cstring>

#include "server/channel.h"
#include "server/handlers/handlers.h"
#include "server/recall_log.h"
#include "server/server_context.h"
#include "server/session.h"

namespace rdmafs::server {
namespace {

// A file that a CREATE has made was open in the old session, and is to be in this one.
Errno TakeOverCreated(Call& call, const RecallLog::Answer& found) {
  wire::EntryReply reply;
  wire::Decoder body(found.reply.body());
  wire::CreateRequest request;
  wire::Decoder arguments(absl::MakeConstSpan(
      reinterpret_cast<const std::byte*>(found.request.data()), found.request.size()));
  if (!reply.Code(body) || !request.Code(arguments)) return Errno(ESTALE);
  return OpenCreatedAgain(call, request, reply.handle);
}

void Recall(Call& call) {
  const auto& asked = call.request<wire::RecallRequest>().fixed;
  const auto key = call.session().key();
  RecallLog* log = call.context().recall_log;
  if (log == nullptr) return call.AnswerError(Errno(ESTALE));
  const RecallLog::Answer found =
      log->Find({.session = {{asked.session[0], asked.session[1]}},
                 .key = key ? std::string_view(key->name) : std::string_view(),
                 .channel = call.channel().number_in_session(),
                 .slot = static_cast<uint16_t>(asked.slot),
                 .sequence = asked.sequence,
                 .opcode = static_cast<uint16_t>(asked.opcode)});
  switch (found.fate) {
    case RecallLog::Fate::kUnknown:
      return call.AnswerError(Errno(ESTALE));
    case RecallLog::Fate::kNeverBegun:
      return call.Answer(wire::RecallReply{wire::RecallFate::kNeverBegun, 0});
    case RecallLog::Fate::kDone:
      break;
  }
  Errno status = found.reply.status;
  if (status.ok() && asked.opcode == static_cast<uint32_t>(wire::Opcode::kCreate)) {
    status = TakeOverCreated(call, found);
  }
  call.Answer(wire::RecallReply{wire::RecallFate::kDone, static_cast<uint32_t>(status.value())});
  if (!status.ok()) return;
  std::memcpy(call.buffer().data(), found.reply.bytes.data(), found.reply.size_bytes);
  call.AnswerInline(found.reply.size_bytes);
}

}  // namespace

void ServeRecall(Call& call) {
  call.WithBuffer(call.context().messages, [](Call& ready) { ready.OnWorker(Recall); });
}

}  // namespace rdmafs::server
