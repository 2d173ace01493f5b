#include "server/recall_evidence.h"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace rdmafs::server {
namespace {

using wire::FileHandle;
using wire::Opcode;


const Identity kServer{.umask = 022};

void Keep(const FileHandle& handle, uint16_t& size,
          std::array<std::byte, wire::kMaxHandleBytes>& bytes) {
  size = handle.size_bytes;
  std::memcpy(bytes.data(), handle.bytes.data(), handle.size_bytes);
}

void NoteFirst(const Result<FileHandle>& named, RecallRecord& record) {
  if (!named.ok() && named.error() != Errno(ENOENT)) return;
  if (named.ok()) Keep(*named, record.first_size, record.first);
  record.evidence |= kFirstKnown;
}

void NoteSecond(const Result<FileHandle>& named, RecallRecord& record) {
  if (!named.ok() && named.error() != Errno(ENOENT)) return;
  if (named.ok()) Keep(*named, record.second_size, record.second);
  record.evidence |= kSecondKnown;
}

template <typename Request>
void NoteName(Call& call, RecallRecord& record) {
  const auto& r = call.request<Request>();
  const Identity identity = call.IdentityOf(r.caller);
  record.uid = identity.uid;
  NoteFirst(call.store().Identify(identity, r.parent, r.name), record);
}

void NoteSize(Call& call, RecallRecord& record) {
  auto attributes = call.store().GetAttr(kServer, call.file().handle(), &call.file());
  if (!attributes.ok()) return;
  Keep(call.file().handle(), record.first_size, record.first);
  record.file_size = attributes->size;
  record.evidence |= kSizeKnown;
}

// `size` bytes of the pieces, from `offset` on.
void CopyOut(absl::Span<const iovec> pieces, size_t offset, size_t size, std::byte* to) {
  for (const iovec& piece : pieces) {
    const size_t begin = std::min(offset, piece.iov_len);
    const size_t count = std::min(size, piece.iov_len - begin);
    std::memcpy(to, static_cast<const std::byte*>(piece.iov_base) + begin, count);
    offset -= begin;
    size -= count;
    to += count;
  }
}

// What is to be appended, or both ends of it, behind the request.
void NoteSample(Call& call, RecallRecord& record) {
  size_t total = 0;
  for (const iovec& piece : call.pieces()) total += piece.iov_len;
  std::byte* to = record.arguments.data() + record.body_size;
  record.text_size = static_cast<uint16_t>(std::min(total, 2 * kRecallSampleBytes));
  if (total <= 2 * kRecallSampleBytes) return CopyOut(call.pieces(), 0, total, to);
  CopyOut(call.pieces(), 0, kRecallSampleBytes, to);
  CopyOut(call.pieces(), total - kRecallSampleBytes, kRecallSampleBytes, to + kRecallSampleBytes);
}

void NoteRequest(const Call& call, RecallRecord& record) {
  const absl::Span<const std::byte> body = call.message().body();
  const std::string_view text = call.inline_text();
  const bool is_write = record.opcode == static_cast<uint16_t>(Opcode::kWrite);
  const size_t text_size = is_write ? 2 * kRecallSampleBytes : text.size();
  if (body.size() + text_size > record.arguments.size()) return;
  record.body_size = static_cast<uint16_t>(body.size());
  std::copy(body.begin(), body.end(), record.arguments.begin());
  if (is_write) return;
  record.text_size = static_cast<uint16_t>(text.size());
  std::memcpy(record.arguments.data() + body.size(), text.data(), text.size());
}

void NoteEvidence(Call& call, RecallRecord& record) {
  switch (static_cast<Opcode>(record.opcode)) {
    case Opcode::kMkNod:
      return NoteName<wire::MkNodRequest>(call, record);
    case Opcode::kMkDir:
      return NoteName<wire::MkDirRequest>(call, record);
    case Opcode::kSymLink:
      return NoteName<wire::SymLinkRequest>(call, record);
    case Opcode::kCreate:
      return NoteName<wire::CreateRequest>(call, record);
    case Opcode::kUnlink:
      return NoteName<wire::UnlinkRequest>(call, record);
    case Opcode::kRmDir:
      return NoteName<wire::RmDirRequest>(call, record);
    case Opcode::kLink: {
      const auto& r = call.request<wire::LinkRequest>();
      return NoteFirst(call.store().Identify(call.IdentityOf(r.caller), r.new_parent, r.new_name),
                       record);
    }
    case Opcode::kRename: {
      const auto& r = call.request<wire::RenameRequest>();
      const Identity identity = call.IdentityOf(r.caller);
      NoteFirst(call.store().Identify(identity, r.parent, r.name), record);
      return NoteSecond(call.store().Identify(identity, r.new_parent, r.new_name), record);
    }
    case Opcode::kWrite:
      NoteSample(call, record);
      return NoteSize(call, record);
    case Opcode::kFallocate:
      return NoteSize(call, record);
    default:
      return;
  }
}

}  // namespace

void NoteBegin(Call& call, RecallRecord& record) {
  // The call before it in this slot is over and its answer has arrived.
  record.state.store(RecallRecord::kIdle, std::memory_order_release);
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  record.sequence = call.header().sequence;
  record.opcode = call.header().opcode;
  record.begun_s = now.tv_sec;
  record.begun_ns = static_cast<uint32_t>(now.tv_nsec);
  record.body_size = record.text_size = record.reply_size = 0;
  record.evidence = record.first_size = record.second_size = 0;
  NoteRequest(call, record);
  if (record.body_size != 0) NoteEvidence(call, record);
  record.state.store(RecallRecord::kBegun, std::memory_order_release);
}

void NoteEnd(const Call& call, RecallRecord& record) {
  const KeptReply reply = call.ReplyToKeep();
  record.status = static_cast<uint32_t>(reply.status.value());
  record.reply_size = reply.size_bytes;
  std::copy_n(reply.bytes.begin(), reply.size_bytes, record.reply.begin());
  record.state.store(RecallRecord::kDone, std::memory_order_release);
}

}  // namespace rdmafs::server
