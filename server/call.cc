#include "server/call.h"

#include <algorithm>
#include <utility>

#include "server/channel.h"
#include "server/operation.h"
#include "server/recall_evidence.h"
#include "server/server_context.h"
#include "server/shard.h"

namespace rdmafs::server {

void Call::Begin(Channel& channel, ReceivedMessage message, const Operation& operation,
                 Nanoseconds now) {
  channel_ = &channel;
  operation_ = &operation;
  begun_ = now;
  message_ = std::move(message);
  keep_reply_ = operation.once;
}

std::string_view Call::inline_text() const {
  absl::Span<const std::byte> payload = message_.inline_payload();
  return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

Session& Call::session() { return *channel_->session(); }

const ServerContext& Call::context() const { return shard_.context(); }

bool Call::Address(const wire::FileHandle& handle, bool changes) {
  uint32_t export_id;
  if (ExportIdOf(handle, export_id)) attachment_ = session().FindAttachment(export_id);
  if (attachment_ == nullptr) {
    Breach("handle of an export that was not attached");
    return false;
  }
  return MayUse(*attachment_, changes);
}

Errno Call::AddressAgain(const wire::FileHandle& handle, bool changes) {
  uint32_t export_id;
  if (ExportIdOf(handle, export_id)) attachment_ = session().FindAttachment(export_id);
  return attachment_ != nullptr ? UseError(*attachment_, changes) : Errno(ESTALE);
}

Errno Call::UseError(const Attachment& attachment, bool changes) {
  if (attachment.revoked.load(std::memory_order_relaxed)) return Errno(ESTALE);
  return changes && attachment.read_only ? Errno(EROFS) : kOk;
}

bool Call::MayUse(const Attachment& attachment, bool changes) {
  const Errno error = UseError(attachment, changes);
  if (!error.ok()) Fail(error);
  return error.ok();
}

bool Call::Address(wire::OpenId id, bool changes) {
  open_ = session().opens().Find(id);
  if (open_ == nullptr) {
    Fail(Errno(EBADF));
    return false;
  }
  return MayUse(*open_->attachment, changes);
}

bool Call::AddressOther(wire::OpenId id) {
  other_open_ = session().opens().Find(id);
  if (other_open_ != nullptr) return MayUse(*other_open_->attachment, false);
  Fail(Errno(EBADF));
  return false;
}

bool Call::TakeOpen(wire::OpenId id) {
  open_ = session().opens().Remove(id);
  if (open_ != nullptr) return true;
  Fail(Errno(EBADF));
  return false;
}

void Call::MakeRecallable() { record_ = channel_->RecordOf(header().slot); }

bool Call::WaitForAppend(Step next) {
  then_ = next;
  appending = true;
  keep_reply_ = true;
  MakeRecallable();
  return open_->appends.Enter(*this);
}

void Call::WithBuffer(BufferPool& pool, Step next) {
  DCHECK(shard_.loop().InLoopThread());
  buffer_ = pool.Take();
  if (buffer_) return next(*this);
  shard_.QueueFor(pool).Wait(*this, next);
}

void Call::WithPayloadThroughFile(uint64_t offset, Step next) {
  CHECK((header().flags & wire::kFlagSource) != 0);  // else the range would go out with the reply
  file_range_ = {file().fd(), offset, header().remote_size, open_->file};
  WithPayload(next);
}

void Call::WithPayload(Step next) {
  if ((header().flags & wire::kFlagSource) == 0) {
    absl::Span<const std::byte> payload = message_.inline_payload();
    pieces_[0] = {const_cast<std::byte*>(payload.data()), payload.size()};
    piece_count_ = 1;
    return next(*this);
  }
  then_ = next;
  WithBuffer(context().blocks, [](Call& call) {
    absl::Span<std::byte> room = call.buffer_.payload().first(call.header().remote_size);
    call.channel_->connection().PullThrough(
        call.message_, std::exchange(call.file_range_, {}), room, call.buffer_,
        [&call](Result<Connection::Pulled> pulled) {
          if (!pulled.ok()) return call.Fail(pulled.error());
          call.done = pulled->written;
          call.piece_count_ = 0;
          for (absl::Span<const std::byte> piece : {pulled->head, pulled->rest}) {
            if (piece.empty()) continue;
            call.pieces_[call.piece_count_++] = {const_cast<std::byte*>(piece.data()),
                                                 piece.size()};
          }
          call.then_(call);
        });
  });
}

void Call::ConsumePieces(size_t count) {
  size_t first = 0;
  while (first < piece_count_ && count >= pieces_[first].iov_len) count -= pieces_[first++].iov_len;
  for (size_t i = first; i < piece_count_; ++i) pieces_[i - first] = pieces_[i];
  piece_count_ -= first;
  if (piece_count_ == 0) return;
  pieces_[0].iov_base = static_cast<std::byte*>(pieces_[0].iov_base) + count;
  pieces_[0].iov_len -= count;
}

void Call::OnWorker(Step work, Step then) {
  work_ = work;
  then_ = then;
  run = &Call::RunOnWorker;
  context().workers.Queue(*this);
}

void Call::RunOnWorker(WorkItem& item) {
  Call& call = static_cast<Call&>(item);
  if (call.record_ == nullptr) {
    call.work_(call);
  } else {
    call.WorkOnRecord();
  }
  call.Resume(call.then_);
}

void Call::WorkOnRecord() {
  // Where a file ends says whether an append was done only while nobody else appends.
  absl::Mutex* others = appending ? &context().append_locks.Of(file().id()) : nullptr;
  absl::MutexLockMaybe lock(others);
  NoteBegin(*this, *record_);
  work_(*this);
  NoteEnd(*this, *record_);
}

void Call::Resume(Step next) {
  then_ = next;
  shard_.Resume(*this);
}

void Call::MakeDurable(const wire::FileHandle& object) {
  if (!attachment().sync || !status_.ok()) return;
  if (Errno error = store().SyncFs(object); !error.ok()) AnswerStoreError(error);
}

void Call::Finish(Call& call) {
  if (call.breach_ != nullptr) return call.Breach(call.breach_);
  if (call.appending) {
    call.appending = false;
    if (Call* next = call.open_->appends.Leave()) next->Resume(next->then_);
  }
  call.channel_->Finish(call);
}

void Call::Breach(std::string_view reason) {
  breach_ = nullptr;
  keep_reply_ = false;
  channel_->Breach(reason);
  Finish(*this);
}

void Call::AnswerStoreError(Errno error) {
  if (error.value() == EBADF) breach_ = "forged handle";
  status_ = error;
}

void Call::AnswerAgain(const KeptReply& reply) {
  status_ = reply.status;
  std::copy(reply.body().begin(), reply.body().end(), reply_space_.begin());
  reply_body_ = absl::MakeConstSpan(reply_space_).first(reply.size_bytes);
  keep_reply_ = true;
}

bool Call::MustKeepReply() const {
  // A wait that ended because nobody was there any more begins anew.
  return keep_reply_ && !(wait_lost && status_ == Errno(EINTR));
}

KeptReply Call::ReplyToKeep() const {
  // Of those that are kept, only an OPEN has payload, and its client does without.
  DCHECK((reply_inline_.empty() && reply_push_.empty()) ||
         operation_->opcode == wire::Opcode::kOpen);
  KeptReply reply;
  reply.status = status_;
  reply.size_bytes = status_.ok() ? static_cast<uint16_t>(reply_body_.size() - unkept_bytes_) : 0;
  std::copy_n(reply_body_.begin(), reply.size_bytes, reply.bytes.begin());
  return reply;
}

void Call::AnswerEntry(const Result<StoreEntry>& entry, uint32_t flags) {
  if (!entry.ok()) return AnswerStoreError(entry.error());
  Answer(
      wire::EntryReply{.attributes = entry->attributes, .flags = flags, .handle = entry->handle});
}

void Call::AnswerMade(const Result<StoreEntry>& entry, const wire::FileHandle& parent) {
  if (!entry.ok()) return AnswerStoreError(entry.error());
  Answer(wire::MadeReply{{.attributes = entry->attributes, .handle = entry->handle},
                         AttributesNow(parent)});
  unkept_bytes_ = sizeof(wire::Attributes);
}

void Call::AnswerNames(Errno error, const wire::FileHandle& parent) {
  if (!error.ok()) return AnswerStoreError(error);
  Answer(wire::NamesReply{AttributesNow(parent)});
  unkept_bytes_ = sizeof(wire::Attributes);
}

wire::Attributes Call::AttributesNow(const wire::FileHandle& directory) const {
  // Whoever changes names in it may see it.
  auto attributes = store().GetAttr(Identity(), directory, nullptr);
  return attributes.ok() ? *attributes : wire::Attributes();
}

void Call::AnswerAttributes(const Result<wire::Attributes>& attributes) {
  if (!attributes.ok()) return AnswerStoreError(attributes.error());
  Answer(wire::AttributesReply{*attributes});
}

void Call::AnswerCount(const Result<uint64_t>& count) {
  if (!count.ok()) return AnswerError(count.error());
  Answer(wire::CountReply{*count});
}

void Call::Reset() {
  channel_ = nullptr;
  message_ = ReceivedMessage();
  attachment_.reset();
  open_.reset();
  other_open_.reset();
  buffer_ = Buffer();
  piece_count_ = 0;
  done = 0;
  wait = 0;
  cancelled = wait_lost = keep_reply_ = false;
  record_ = nullptr;
  predecessor_.reset();
  status_ = kOk;
  reply_body_ = reply_inline_ = reply_push_ = {};
  unkept_bytes_ = 0;
  file_range_ = FileRange();
}

}  // namespace rdmafs::server
