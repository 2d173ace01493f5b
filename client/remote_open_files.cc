// RemoteFileSystem's operations on open files, and locks.
#include <fcntl.h>
#include <linux/falloc.h>

#include "client/answers.h"
#include "client/remote_file_system.h"

namespace rdmafs {

void RemoteFileSystem::Open(const Caller& caller, const FileHandle& handle, OpenId open_id,
                            uint32_t flags, uint32_t options, Reply<Attributes> reply) {
  flags = WithSync(flags);
  auto row = std::make_unique<OpenTable::Row>(
      OpenTable::Row{open_id, handle, flags, caller.uid, caller.gid, {}});
  Small().Start(wire::OpenRequest{caller, handle, open_id, flags, options}, {}, OnLoss::kRepeat,
                [this, row = std::move(row), reply = std::move(reply)](Answer answer) mutable {
                  if (answer.error.ok()) open_table_.Add(std::move(*row));
                  ToAttributes(std::move(reply))(std::move(answer));
                });
}

void RemoteFileSystem::OpenAndRead(const Caller& caller, const FileHandle& handle, uint32_t flags,
                                   uint32_t options, ReadRequest first, Reply<OpenedFile> reply) {
  flags = WithSync(flags);
  auto row = std::make_unique<OpenTable::Row>(
      OpenTable::Row{first.open_id, handle, flags, caller.uid, caller.gid, {}});
  Small().Start(wire::OpenRequest{caller, handle, first.open_id, flags, options, first.size},
                Sink(first.size, std::move(first.destination)), OnLoss::kRepeat,
                [this, row = std::move(row), reply = std::move(reply)](Answer answer) mutable {
                  if (answer.error.ok()) open_table_.Add(std::move(*row));
                  Result<wire::AttributesReply> decoded =
                      DecodeAnswer<wire::AttributesReply>(answer);
                  if (!decoded.ok()) return reply.Complete(decoded.error());
                  Result<Payload> payload = TakePayload(std::move(answer));
                  if (!payload.ok()) return reply.Complete(payload.error());
                  reply.Complete(OpenedFile{decoded->attributes, *std::move(payload)});
                });
}

namespace {

// For Create and TmpFile: the handle comes with the answer.
AnswerFunction ToOpenedEntry(OpenTable& table, OpenTable::Row row, Reply<Entry> reply) {
  return [&table, row = std::make_unique<OpenTable::Row>(std::move(row)),
          reply = std::move(reply)](Answer answer) mutable {
    Result<wire::MadeReply> decoded = DecodeAnswer<wire::MadeReply>(answer);
    if (!decoded.ok()) return reply.Complete(decoded.error());
    row->handle = decoded->entry.handle;
    table.Add(std::move(*row));
    reply.Complete(Entry{decoded->entry.attributes, decoded->entry.handle, decoded->parent});
  };
}

}  // namespace

void RemoteFileSystem::Create(const Caller& caller, const FileHandle& parent, std::string_view name,
                              OpenId open_id, uint32_t flags, uint32_t mode, uint32_t options,
                              Reply<Entry> reply) {
  flags = WithSync(flags);
  // Without O_EXCL it opens what the first one has made.
  const OnLoss on_loss = (flags & O_EXCL) != 0 ? OnLoss::kAsk : OnLoss::kRepeat;
  Small().Start(wire::CreateRequest{caller, parent, name, open_id, flags, mode, options}, {},
                on_loss,
                ToOpenedEntry(open_table_, {open_id, {}, flags, caller.uid, caller.gid, {}},
                              std::move(reply)));
}

void RemoteFileSystem::TmpFile(const Caller& caller, const FileHandle& parent, OpenId open_id,
                               uint32_t flags, uint32_t mode, Reply<Entry> reply) {
  flags = WithSync(flags);
  const uint32_t again = flags & ~static_cast<uint32_t>(O_TMPFILE);  // it is re-opened by handle
  // A file without a name went with the session that made it.
  Small().Start(wire::TmpFileRequest{caller, parent, open_id, flags, mode}, {}, OnLoss::kRepeat,
                ToOpenedEntry(open_table_, {open_id, {}, again, caller.uid, caller.gid, {}},
                              std::move(reply)));
}

void RemoteFileSystem::Release(OpenId open_id, Reply<Unit> reply) {
  const bool stale = open_table_.IsStale(open_id);
  open_table_.Remove(open_id);
  if (stale) return reply.Complete(Unit{});
  // A server that lost the connection has released it by itself.
  Small().Start(wire::ReleaseRequest{open_id}, {}, OnLoss::kFail, ToUnit(std::move(reply)));
}

void RemoteFileSystem::Read(ReadRequest request, Reply<Payload> reply) {
  if (open_table_.IsStale(request.open_id)) return reply.Complete(Errno(ESTALE));
  For(request.size).Start(wire::ReadRequest{request.open_id, request.offset, request.size},
                          Sink(request.size, std::move(request.destination)), OnLoss::kRepeat,
                          ToPayload(std::move(reply)));
}

void RemoteFileSystem::Write(WriteRequest request, Reply<uint64_t> reply) {
  if (open_table_.IsStale(request.open_id)) return reply.Complete(Errno(ESTALE));
  const uint32_t size = static_cast<uint32_t>(request.source.bytes.size());
  const bool append = open_table_.IsAppend(request.open_id);
  const OnLoss on_loss = append ? OnLoss::kAsk : OnLoss::kRepeat;
  // Appends have no offsets that would put them in order: one channel does.
  CallChannel& channel = append ? Small() : For(size);
  channel.Start(wire::WriteRequest{request.open_id, request.offset, size, request.options,
                                   request.uid, request.gid},
                Source(std::move(request.source)), on_loss,
                [this, id = request.open_id, reply = std::move(reply)](Answer answer) mutable {
                  if (answer.error.ok()) NoteWritten(id);
                  ToCount(std::move(reply))(std::move(answer));
                });
}

void RemoteFileSystem::Fsync(OpenId open_id, bool data_only, Reply<Unit> reply) {
  if (open_table_.IsStale(open_id)) return reply.Complete(Errno(ESTALE));
  const std::shared_ptr<WriteState> state = open_table_.StateOf(open_id);
  const uint64_t written = state != nullptr ? state->written.load(std::memory_order_relaxed) : 0;
  Small().Start(wire::FsyncRequest{open_id, data_only ? 1u : 0u}, {}, OnLoss::kRepeat,
                [this, open_id, state, written, reply = std::move(reply)](Answer answer) mutable {
                  if (open_table_.TakeLoss(open_id)) return reply.Complete(Errno(EIO));
                  if (answer.error.ok() && state != nullptr) state->NoteSynced(written);
                  reply.Complete(ToResult(answer.error));
                });
}

void RemoteFileSystem::Fallocate(const Caller& caller, OpenId open_id, uint64_t offset,
                                 uint64_t length, uint32_t mode, Reply<Unit> reply) {
  if (open_table_.IsStale(open_id)) return reply.Complete(Errno(ESTALE));
  const bool moves = (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0;
  Small().Start(wire::FallocateRequest{caller, open_id, offset, length, mode}, {},
                moves ? OnLoss::kAsk : OnLoss::kRepeat, ToUnit(std::move(reply)));
}

void RemoteFileSystem::Seek(OpenId open_id, uint64_t offset, uint32_t whence,
                            Reply<uint64_t> reply) {
  if (open_table_.IsStale(open_id)) return reply.Complete(Errno(ESTALE));
  Small().Start(wire::SeekRequest{open_id, offset, whence}, {}, OnLoss::kRepeat,
                ToCount(std::move(reply)));
}

void RemoteFileSystem::CopyFileRange(const Caller& caller, const CopyFileRangeRequest& request,
                                     Reply<uint64_t> reply) {
  if (open_table_.IsStale(request.in_id) || open_table_.IsStale(request.out_id)) {
    return reply.Complete(Errno(ESTALE));
  }
  Small().Start(wire::CopyFileRangeRequest{caller, request.in_id, request.in_offset, request.out_id,
                                           request.out_offset, request.length},
                {}, OnLoss::kRepeat, ToCount(std::move(reply)));
}

void RemoteFileSystem::ReadDir(const Caller& caller, ReadDirRequest request, Reply<Payload> reply) {
  if (open_table_.IsStale(request.open_id)) return reply.Complete(Errno(ESTALE));
  const uint32_t size = static_cast<uint32_t>(
      std::min<size_t>(request.destination.bytes.size(), wire::kMaxPayloadBytes));
  CallPayload payload{.exposed = request.destination.bytes.first(size),
                      .server_writes = true,
                      .foreign = request.destination.foreign,
                      .hold = std::move(request.destination.hold)};
  For(size).Start(
      wire::ReadDirRequest{caller, request.open_id, request.cookie, size, request.options},
      std::move(payload), OnLoss::kRepeat, ToPayload(std::move(reply)));
}

// --- Locks ---

void RemoteFileSystem::GetLock(OpenId open_id, const LockRange& range, uint32_t flags,
                               Reply<LockRange> reply) {
  if (open_table_.IsStale(open_id)) return reply.Complete(Errno(ESTALE));
  Small().Start(wire::GetLockRequest{open_id, range, flags}, {}, OnLoss::kRepeat,
                [reply = std::move(reply)](Answer answer) mutable {
                  Result<wire::LockReply> decoded = DecodeAnswer<wire::LockReply>(answer);
                  if (!decoded.ok()) return reply.Complete(decoded.error());
                  reply.Complete(decoded->range);
                });
}

CancelToken RemoteFileSystem::SetLock(OpenId open_id, const LockRange& range, uint32_t flags,
                                      Reply<Unit> reply) {
  if (open_table_.IsStale(open_id)) {
    reply.Complete(Errno(ESTALE));
    return 0;
  }
  auto recorded = [this, open_id, range, flags, reply = std::move(reply)](Answer answer) mutable {
    if (answer.error.ok()) open_table_.RecordLock(open_id, range, flags & ~wire::kLockWait);
    reply.Complete(ToResult(answer.error));
  };
  const wire::SetLockRequest request{open_id, range, flags};
  if ((flags & wire::kLockWait) != 0) return Small().StartWaiting(request, std::move(recorded));
  Small().Start(request, {}, OnLoss::kRepeat, std::move(recorded));
  return 0;
}

void RemoteFileSystem::CancelLock(CancelToken token) {
  uint32_t slot, sequence;
  if (Small().Withdraw(token, Errno(EINTR))) return;
  if (!Small().Find(token, &slot, &sequence)) return;
  Small().Start(wire::CancelRequest{slot, sequence}, {}, OnLoss::kFail, [](Answer) {});
}

void RemoteFileSystem::GiveUp(absl::Span<const std::byte> memory) {
  for (const std::unique_ptr<CallChannel>& channel : channels_) {
    channel->WithdrawPayload(memory, Errno(EINTR));
  }
}

void RemoteFileSystem::ReleaseOwner(OpenId open_id, uint64_t owner, Reply<Unit> reply) {
  open_table_.ForgetOwner(open_id, owner);
  if (open_table_.IsStale(open_id)) return reply.Complete(Unit{});
  Small().Start(wire::ReleaseOwnerRequest{open_id, owner}, {}, OnLoss::kRepeat,
                [this, open_id, reply = std::move(reply)](Answer answer) mutable {
                  // It is a close(2): the last one to hear of writes that are lost.
                  if (open_table_.TakeLoss(open_id)) return reply.Complete(Errno(EIO));
                  reply.Complete(ToResult(answer.error));
                });
}

uint32_t RemoteFileSystem::WithSync(uint32_t flags) const {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  return sync_ && writes ? flags | static_cast<uint32_t>(O_SYNC) : flags;
}

void RemoteFileSystem::NoteWritten(OpenId open_id) {
  if (open_id != last_written_) {
    last_written_ = open_id;
    last_state_ = open_table_.StateOf(open_id);
  }
  if (last_state_ != nullptr) last_state_->written.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace rdmafs
