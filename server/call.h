// Call: one request on its way through the server.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <vector>

#include "absl/types/span.h"
#include "server/attachment.h"
#include "server/lock_table.h"
#include "server/open_table.h"
#include "server/slot_memory.h"
#include "server/store.h"
#include "server/work_item.h"
#include "transport/connection.h"
#include "transport/wire/messages.h"

namespace rdmafs::server {

class Channel;
class Session;
class Shard;
struct Operation;
struct ServerContext;

// Lives in its shard's slab and is used again and again, so that a call costs no allocation. Owned
// by its shard's thread, except between OnWorker() and the end of that step: then by the worker.
//
// A call is a chain of steps. Each step either ends it (Finish), or hands it on (WithBuffer,
// WithPayload, OnWorker, ring) together with the step to go on with, and touches it no more. A step
// that runs after a wait may find its connection gone; Finish() then drops the answer.
class Call final : public WorkItem {
 public:
  using Step = void (*)(Call&);

  explicit Call(Shard& shard) : shard_(shard) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // --- The request ---
  void Begin(Channel& channel, ReceivedMessage message, const Operation& operation,
             Nanoseconds now);
  // Decodes the body into this call. False unless all of it, and nothing more, was there.
  template <typename Request>
  bool Decode() {
    static_assert(sizeof(Request) <= kRequestBytes && std::is_trivially_destructible_v<Request>);
    decoder_.emplace(message_.body());
    auto* request = ::new (static_cast<void*>(request_)) Request();
    return request->Code(*decoder_) && decoder_->AtEnd();
  }
  // What Decode() made. Its views live until Finish().
  template <typename Request>
  const Request& request() const {
    return *std::launder(reinterpret_cast<const Request*>(request_));
  }
  const wire::MessageHeader& header() const { return message_.header(); }
  const ReceivedMessage& message() const { return message_; }
  std::string_view inline_text() const;

  Shard& shard() { return shard_; }
  Channel& channel() { return *channel_; }
  Session& session();
  const ServerContext& context() const;
  const Operation& operation() const { return *operation_; }
  Nanoseconds begun() const { return begun_; }

  // --- What it is about ---
  // Finds the export that `handle` belongs to. When false, the call has been finished: EROFS for a
  // change of a read-only export, ESTALE for one that is gone, or the connection closed for a
  // handle that this session has no right to.
  bool Address(const wire::FileHandle& handle, bool changes);
  // The same for an object that an earlier session had; nothing is finished. ESTALE, too, when its
  // export is not attached.
  Errno AddressAgain(const wire::FileHandle& handle, bool changes);
  // Finds an open file. When false, the call has been finished with EBADF, ESTALE or EROFS.
  bool Address(wire::OpenId id, bool changes);
  // The same for a second file of the call.
  bool AddressOther(wire::OpenId id);
  // Takes an open file out of the session's table, for this call to close.
  bool TakeOpen(wire::OpenId id);
  void DropOpen() { open_.reset(); }
  const Attachment& attachment() const { return open_ ? *open_->attachment : *attachment_; }
  Store& store() const { return *attachment().store; }
  std::shared_ptr<const Attachment> shared_attachment() const { return attachment_; }
  OpenEntry& open() const { return *open_; }
  OpenEntry& other_open() const { return *other_open_; }
  OpenFile& file() const { return *open_->file; }
  bool has_open() const { return open_ != nullptr; }
  // Who `caller` is here; lives as long as the request.
  Identity IdentityOf(const wire::Caller& caller) {
    return Squash(caller, attachment().squash, squashed_groups_);
  }

  // --- Going on ---
  // With a block of `pool` (the context's messages or blocks) in buffer(), now or when there is
  // one.
  void WithBuffer(BufferPool& pool, Step next);
  // With what the request carries in pieces(): its inline payload as it lies, or a pulled block.
  void WithPayload(Step next);
  // The same for a payload in the client's memory, but where the connection can, it writes to the
  // open file from `offset` on: what it could is `done`, and the pieces are the rest.
  void WithPayloadThroughFile(uint64_t offset, Step next);
  // True when it is this call's turn to append to its open file; else it goes on at `next` when it
  // is. The turn ends with Finish(), and its reply is kept.
  bool WaitForAppend(Step next);
  // On a worker thread. Then, on the shard's again, `then`.
  void OnWorker(Step work, Step then = &Call::Finish);
  // From any thread: go on at `next` on the shard's.
  void Resume(Step next);
  // On a `sync` export: waits until what this call has changed, if it has, is on the disk, with the
  // rest of the file system of `object`. Worker thread; an error becomes the answer.
  void MakeDurable(const wire::FileHandle& object);
  // Sends the answer, or drops it when the connection is gone, and ends the call. Shard thread.
  static void Finish(Call& call);
  // Ends it with an error.
  void Fail(Errno error) {
    AnswerError(error);
    Finish(*this);
  }
  // From now on the next process will know of this call, if there is a log. Shard thread.
  void MakeRecallable();
  // The peer broke the protocol: closes its connection, and ends the call. Shard thread.
  void Breach(std::string_view reason);

  // --- The answer (any thread that owns the call) ---
  template <typename Message>
  void Answer(const Message& message) {
    reply_body_ = wire::Encode(message, absl::MakeSpan(reply_space_));
    CHECK(!reply_body_.empty());
  }
  void AnswerError(Errno error) { status_ = error; }
  // What it would be answered with now.
  Errno status() const { return status_; }
  // As it was answered before.
  void AnswerAgain(const KeptReply& reply);
  // That answer, for such a replay.
  KeptReply ReplyToKeep() const;
  // Answers of a Store: EBADF there is a handle that it did not mint, and ends the connection.
  void AnswerStoreError(Errno error);
  void AnswerEntry(const Result<StoreEntry>& entry, uint32_t flags = 0);
  // The same, or AnswerStoreError(), for a change of the names in `parent`, whose attributes of now
  // go with the answer. A kept answer is without them.
  void AnswerMade(const Result<StoreEntry>& entry, const wire::FileHandle& parent);
  void AnswerNames(Errno error, const wire::FileHandle& parent);
  void AnswerAttributes(const Result<wire::Attributes>& attributes);
  // Of an open file.
  void AnswerCount(const Result<uint64_t>& count);
  // The first `size` bytes of buffer(): in the reply, or into the memory that the call exposed.
  void AnswerInline(size_t size) { reply_inline_ = buffer_.payload().first(size); }
  void AnswerPush(size_t size) { reply_push_ = buffer_.payload().first(size); }
  // `size` bytes of the open file from `offset` on, by way of Outgoing::push_file.
  void AnswerPushFile(uint64_t offset, size_t size) {
    file_range_ = {file().fd(), offset, size, open_->file};
  }

  // --- Room for its steps ---
  Buffer& buffer() { return buffer_; }
  absl::Span<iovec> pieces() { return absl::MakeSpan(pieces_).first(piece_count_); }
  // Takes the first `count` bytes off the pieces: they are done.
  void ConsumePieces(size_t count);
  uint64_t done = 0;           // bytes of a read or write so far
  bool appending = false;      // it holds its file's append turn
  LockTable::WaitId wait = 0;  // of a SetLock under way
  bool cancelled = false;      // by the client: a lock is not to be waited for
  bool wait_lost = false;      // the wait was ended by the loss of the connection
  int32_t io_result = 0;       // of the ring
  Step io_next = nullptr;
  Step block_next = nullptr;  // of the BlockQueue

 private:
  friend class Channel;
  friend class Shard;
  static constexpr size_t kRequestBytes = 512;
  static constexpr size_t kReplyBytes = KeptReply::kMaxBodyBytes + sizeof(wire::Attributes);

  static void RunOnWorker(WorkItem& item);
  bool MustKeepReply() const;
  void WorkOnRecord();
  static Errno UseError(const Attachment& attachment, bool changes);
  bool MayUse(const Attachment& attachment, bool changes);
  // Of mode 0 when they cannot be had.
  wire::Attributes AttributesNow(const wire::FileHandle& directory) const;
  void Reset();

  Shard& shard_;

  Channel* channel_ = nullptr;             // holds a reference
  std::shared_ptr<LateCall> predecessor_;  // of a replay: the call that it is to wait for
  bool keep_reply_ = false;                // it must not be done twice
  RecallRecord* record_ = nullptr;         // of its slot, if the next process is to know of it
  const Operation* operation_ = nullptr;
  Nanoseconds begun_ = 0;
  ReceivedMessage message_;
  std::optional<wire::Decoder> decoder_;  // keeps the caller's groups
  alignas(8) std::byte request_[kRequestBytes];

  std::shared_ptr<const Attachment> attachment_;
  std::vector<uint32_t> squashed_groups_;
  std::shared_ptr<OpenEntry> open_;
  std::shared_ptr<OpenEntry> other_open_;
  Buffer buffer_;
  std::array<iovec, 2> pieces_{};
  size_t piece_count_ = 0;

  Step work_ = nullptr;  // on the worker
  Step then_ = nullptr;  // next on the shard

  Errno status_;
  const char* breach_ = nullptr;  // found on a worker
  std::array<std::byte, kReplyBytes> reply_space_;
  absl::Span<const std::byte> reply_body_;
  size_t unkept_bytes_ = 0;  // the last ones of reply_body_ are not kept
  absl::Span<const std::byte> reply_inline_;
  absl::Span<const std::byte> reply_push_;
  FileRange file_range_;  // that the transport reads or writes
};

}  // namespace rdmafs::server
