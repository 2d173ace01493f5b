#include "client/remote_file_system.h"

#include <sys/xattr.h>

#include <algorithm>
#include <cstring>

#include "client/answers.h"

namespace rdmafs {

CallPayload InlineText(BufferPool& messages, std::string_view text) {
  CHECK(text.size() <= wire::kMaxInlineBytes && messages.options().payload_bytes >= text.size());
  CallPayload payload{.hold = messages.Take()};
  if (!payload.hold) return {};
  std::memcpy(payload.hold.data(), text.data(), text.size());
  payload.inline_payload = payload.hold.payload().first(text.size());
  return payload;
}

RemoteFileSystem::RemoteFileSystem(EventLoop& loop, CallChannel::Owner& owner, BufferPool& messages,
                                   OpenTable& open_table, int channel_count)
    : messages_(messages), open_table_(open_table) {
  CHECK(channel_count > 0);
  for (int i = 0; i < channel_count; ++i)
    channels_.push_back(std::make_unique<CallChannel>(loop, owner));
}

RemoteFileSystem::~RemoteFileSystem() = default;

CallChannel& RemoteFileSystem::For(size_t size) {
  if (size <= wire::kMaxInlineBytes || channels_.size() == 1) return Small();
  next_bulk_ = next_bulk_ % (channels_.size() - 1) + 1;
  return *channels_[next_bulk_];
}

CallPayload RemoteFileSystem::Sink(uint32_t size, PayloadMemory destination) {
  if (size <= wire::kMaxInlineBytes) return {};
  CHECK(destination.bytes.size() >= size);
  return {.exposed = destination.bytes.first(size),
          .server_writes = true,
          .by_pipe = destination.by_pipe,
          .foreign = destination.foreign,
          .hold = std::move(destination.hold)};
}

CallPayload RemoteFileSystem::Source(PayloadMemory source) {
  if (source.bytes.size() <= wire::kMaxInlineBytes) {
    return {.inline_payload = source.bytes, .hold = std::move(source.hold)};
  }
  return {.exposed = source.bytes, .foreign = source.foreign, .hold = std::move(source.hold)};
}

// --- Names and attributes ---

void RemoteFileSystem::Lookup(const Caller& caller, const FileHandle& parent, std::string_view name,
                              Reply<Entry> reply) {
  Small().Start(wire::LookupRequest{caller, parent, name}, {}, OnLoss::kRepeat,
                ToEntry(std::move(reply)));
}

void RemoteFileSystem::Forget(const FileHandle& handle) {
  if (!wants_forget_) return;
  Small().Start(wire::ForgetRequest{handle}, {}, OnLoss::kFail, [](Answer) {});
}

void RemoteFileSystem::GetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                               Reply<Attributes> reply) {
  if (open_table_.IsStale(open_id)) open_id = 0;
  Small().Start(wire::GetAttrRequest{caller, handle, open_id}, {}, OnLoss::kRepeat,
                ToAttributes(std::move(reply)));
}

void RemoteFileSystem::SetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                               const SetAttributes& changes, Reply<Attributes> reply) {
  if (open_table_.IsStale(open_id)) open_id = 0;
  Small().Start(wire::SetAttrRequest{caller, handle, open_id, changes}, {}, OnLoss::kRepeat,
                ToAttributes(std::move(reply)));
}

void RemoteFileSystem::ReadLink(const Caller& caller, const FileHandle& handle,
                                Reply<Payload> reply) {
  Small().Start(wire::ReadLinkRequest{caller, handle}, {}, OnLoss::kRepeat,
                ToPayload(std::move(reply)));
}

void RemoteFileSystem::MkNod(const Caller& caller, const FileHandle& parent, std::string_view name,
                             uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor,
                             Reply<Entry> reply) {
  Small().Start(wire::MkNodRequest{caller, parent, name, mode, rdev_major, rdev_minor}, {},
                OnLoss::kAsk, ToMade(std::move(reply)));
}

void RemoteFileSystem::MkDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                             uint32_t mode, Reply<Entry> reply) {
  Small().Start(wire::MkDirRequest{caller, parent, name, mode}, {}, OnLoss::kAsk,
                ToMade(std::move(reply)));
}

void RemoteFileSystem::Unlink(const Caller& caller, const FileHandle& parent, std::string_view name,
                              Reply<Attributes> reply) {
  Small().Start(wire::UnlinkRequest{caller, parent, name}, {}, OnLoss::kAsk,
                ToParent(std::move(reply)));
}

void RemoteFileSystem::RmDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                             Reply<Attributes> reply) {
  Small().Start(wire::RmDirRequest{caller, parent, name}, {}, OnLoss::kAsk,
                ToParent(std::move(reply)));
}

void RemoteFileSystem::SymLink(const Caller& caller, const FileHandle& parent,
                               std::string_view name, std::string_view target, Reply<Entry> reply) {
  if (target.empty()) return reply.Complete(Errno(ENOENT));
  if (target.size() > wire::kMaxPathBytes) return reply.Complete(Errno(ENAMETOOLONG));
  CallPayload payload = InlineText(messages_, target);
  if (!payload.hold) return reply.Complete(Errno(ENOMEM));
  Small().Start(wire::SymLinkRequest{caller, parent, name}, std::move(payload), OnLoss::kAsk,
                ToMade(std::move(reply)));
}

void RemoteFileSystem::Rename(const Caller& caller, const FileHandle& parent, std::string_view name,
                              const FileHandle& new_parent, std::string_view new_name,
                              uint32_t flags, Reply<Attributes> reply) {
  Small().Start(wire::RenameRequest{caller, parent, name, new_parent, new_name, flags}, {},
                OnLoss::kAsk, ToParent(std::move(reply)));
}

void RemoteFileSystem::Link(const Caller& caller, const FileHandle& handle,
                            const FileHandle& new_parent, std::string_view new_name,
                            Reply<Entry> reply) {
  Small().Start(wire::LinkRequest{caller, handle, new_parent, new_name}, {}, OnLoss::kAsk,
                ToMade(std::move(reply)));
}

void RemoteFileSystem::Access(const Caller& caller, const FileHandle& handle, uint32_t mask,
                              Reply<Unit> reply) {
  Small().Start(wire::AccessRequest{caller, handle, mask}, {}, OnLoss::kRepeat,
                ToUnit(std::move(reply)));
}

void RemoteFileSystem::StatFs(const Caller& caller, const FileHandle& handle,
                              Reply<FileSystemStatistics> reply) {
  Small().Start(wire::StatFsRequest{caller, handle}, {}, OnLoss::kRepeat,
                [reply = std::move(reply)](Answer answer) mutable {
                  Result<wire::StatFsReply> decoded = DecodeAnswer<wire::StatFsReply>(answer);
                  if (!decoded.ok()) return reply.Complete(decoded.error());
                  reply.Complete(decoded->statistics);
                });
}

void RemoteFileSystem::SyncFs(const Caller& caller, const FileHandle& handle, Reply<Unit> reply) {
  Small().Start(wire::SyncFsRequest{caller, handle}, {}, OnLoss::kRepeat, ToUnit(std::move(reply)));
}

// --- Extended attributes ---

namespace {

AnswerFunction ToXattrValue(uint32_t size, Reply<FileSystem::XattrValue> reply) {
  return [size, reply = std::move(reply)](Answer answer) mutable {
    if (size == 0) {
      Result<wire::CountReply> decoded = DecodeAnswer<wire::CountReply>(answer);
      if (!decoded.ok()) return reply.Complete(decoded.error());
      return reply.Complete(FileSystem::XattrValue{{}, decoded->count});
    }
    Result<Payload> payload = TakePayload(std::move(answer));
    if (!payload.ok()) return reply.Complete(payload.error());
    const uint64_t count = payload->bytes.size();
    reply.Complete(FileSystem::XattrValue{std::move(*payload), count});
  };
}

}  // namespace

void RemoteFileSystem::GetXattr(const Caller& caller, const FileHandle& handle,
                                std::string_view name, uint32_t size, PayloadMemory destination,
                                Reply<XattrValue> reply) {
  size = std::min(size, wire::kMaxXattrBytes);
  Small().Start(wire::GetXattrRequest{caller, handle, name, size},
                Sink(size, std::move(destination)), OnLoss::kRepeat,
                ToXattrValue(size, std::move(reply)));
}

void RemoteFileSystem::ListXattr(const Caller& caller, const FileHandle& handle, uint32_t size,
                                 PayloadMemory destination, Reply<XattrValue> reply) {
  size = std::min(size, wire::kMaxXattrBytes);
  Small().Start(wire::ListXattrRequest{caller, handle, size}, Sink(size, std::move(destination)),
                OnLoss::kRepeat, ToXattrValue(size, std::move(reply)));
}

void RemoteFileSystem::SetXattr(const Caller& caller, const FileHandle& handle,
                                std::string_view name, PayloadMemory value, uint32_t flags,
                                uint32_t options, Reply<Unit> reply) {
  const OnLoss on_loss = (flags & XATTR_CREATE) == 0 ? OnLoss::kRepeat : OnLoss::kAsk;
  Small().Start(wire::SetXattrRequest{caller, handle, name, flags, options},
                Source(std::move(value)), on_loss, ToUnit(std::move(reply)));
}

void RemoteFileSystem::RemoveXattr(const Caller& caller, const FileHandle& handle,
                                   std::string_view name, Reply<Unit> reply) {
  Small().Start(wire::RemoveXattrRequest{caller, handle, name}, {}, OnLoss::kAsk,
                ToUnit(std::move(reply)));
}

}  // namespace rdmafs
