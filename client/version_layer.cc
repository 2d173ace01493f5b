#include "client/version_layer.h"

#include <fcntl.h>

#include <cstring>
#include <utility>

namespace rdmafs {
namespace {

// Shows `versions` the attributes that a ReadDirPlus brought. Records that do not fit are the
// reader's to refuse.
void ShowRecords(InodeVersions& versions, absl::Span<const std::byte> records) {
  while (records.size() >= sizeof(wire::DirentHeader)) {
    wire::DirentHeader header;
    std::memcpy(&header, records.data(), sizeof header);
    if (header.record_size < sizeof header || header.record_size > records.size()) return;
    absl::Span<const std::byte> rest =
        records.subspan(sizeof header, header.record_size - sizeof header);
    records.remove_prefix(header.record_size);
    if ((header.flags & wire::kDirentAttributes) == 0) continue;
    FileHandle handle;
    Attributes attributes;
    if (header.handle_size > handle.bytes.size() ||
        rest.size() < sizeof attributes + header.handle_size) {
      return;
    }
    std::memcpy(&attributes, rest.data(), sizeof attributes);
    std::memcpy(handle.bytes.data(), rest.data() + sizeof attributes, header.handle_size);
    handle.size_bytes = header.handle_size;
    versions.OnAttributes(handle, attributes);
  }
}

}  // namespace

VersionLayer::VersionLayer(FileSystem& next, EventLoop& loop, InodeVersions& versions)
    : Layer(next),
      versions_(versions),
      shard_(versions.AddShard([this, &loop, alive = std::weak_ptr<bool>(alive_)](OpenId open_id) {
        loop.Post([this, alive, open_id] {
          if (!alive.expired()) inodes_.erase(open_id);
        });
      })) {}

VersionLayer::~VersionLayer() { versions_.RemoveShard(shard_); }

std::shared_ptr<OpenInode> VersionLayer::InodeOf(OpenId open_id) {
  const auto known = inodes_.find(open_id);
  if (known != inodes_.end()) return known->second;
  InodeVersions::OpenFile file = versions_.Find(open_id, shard_);
  if (file.inode != nullptr) inodes_.emplace(open_id, file.inode);
  return file.inode;
}

// --- What changes content ---

void VersionLayer::Write(WriteRequest request, Reply<uint64_t> reply) {
  std::shared_ptr<OpenInode> inode = InodeOf(request.open_id);
  if (inode == nullptr) return next().Write(std::move(request), std::move(reply));
  inode->content.BeginChange();
  auto look = [inode = std::move(inode), offset = request.offset](Result<uint64_t>& count) {
    if (count.ok()) inode->RaiseSize(offset + *count);
    inode->content.EndChange();
  };
  next().Write(std::move(request), counts_.Wrap(std::move(reply), std::move(look)));
}

void VersionLayer::Fallocate(const Caller& caller, OpenId open_id, uint64_t offset, uint64_t length,
                             uint32_t mode, Reply<Unit> reply) {
  if (const auto inode = InodeOf(open_id)) {
    reply = units_.Wrap(std::move(reply), Change<Unit>(inode->content));
  }
  next().Fallocate(caller, open_id, offset, length, mode, std::move(reply));
}

void VersionLayer::CopyFileRange(const Caller& caller, const CopyFileRangeRequest& request,
                                 Reply<uint64_t> reply) {
  if (const auto inode = InodeOf(request.out_id)) {
    reply = counts_.Wrap(std::move(reply), Change<uint64_t>(inode->content));
  }
  next().CopyFileRange(caller, request, std::move(reply));
}

void VersionLayer::SetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                           const SetAttributes& attributes, Reply<Attributes> reply) {
  auto watched = [this, name = std::make_unique<FileHandle>(handle)](Result<Attributes>& result) {
    if (result.ok()) versions_.OnAttributes(*name, *result);
  };
  reply = attributes_.Wrap(std::move(reply), std::move(watched));
  if ((attributes.valid & wire::kSetSize) != 0) {
    reply = attributes_.Wrap(std::move(reply), Change<Attributes>(versions_.content(handle)));
  }
  next().SetAttr(caller, handle, open_id, attributes, std::move(reply));
}

CancelToken VersionLayer::SetLock(OpenId open_id, const LockRange& range, uint32_t flags,
                                  Reply<Unit> reply) {
  std::shared_ptr<OpenInode> inode =
      range.type == wire::LockType::kUnlock ? nullptr : InodeOf(open_id);
  if (inode != nullptr) {
    reply = units_.Wrap(std::move(reply), [inode = std::move(inode)](Result<Unit>& granted) {
      if (granted.ok()) inode->content.Changed();
    });
  }
  return next().SetLock(open_id, range, flags, std::move(reply));
}

// --- What opens files ---

void VersionLayer::Open(const Caller& caller, const FileHandle& handle, OpenId open_id,
                        uint32_t flags, uint32_t options, Reply<Attributes> reply) {
  if ((flags & O_DIRECTORY) != 0) {
    return next().Open(caller, handle, open_id, flags, options, std::move(reply));
  }
  reply = attributes_.Wrap(std::move(reply), Opened<Attributes>(handle, open_id, flags));
  if ((flags & O_TRUNC) != 0) {
    reply = attributes_.Wrap(std::move(reply), Change<Attributes>(versions_.content(handle)));
  }
  next().Open(caller, handle, open_id, flags, options, std::move(reply));
}

void VersionLayer::OpenAndRead(const Caller& caller, const FileHandle& handle, uint32_t flags,
                               uint32_t options, ReadRequest first, Reply<OpenedFile> reply) {
  reply = opened_.Wrap(std::move(reply), Opened<OpenedFile>(handle, first.open_id, flags));
  next().OpenAndRead(caller, handle, flags, options, std::move(first), std::move(reply));
}

Reply<Entry> VersionLayer::Watched(Reply<Entry> reply, OpenId open_id, uint32_t flags) {
  return entries_.Wrap(std::move(reply), [this, open_id, flags](Result<Entry>& entry) {
    if (!entry.ok()) return;
    if (open_id != 0) versions_.AddOpen(open_id, entry->handle, flags);
    // Which file a creating open truncates is only known now.
    if ((flags & O_TRUNC) != 0) versions_.content(entry->handle).Changed();
    versions_.OnAttributes(entry->handle, entry->attributes);
  });
}

void VersionLayer::Create(const Caller& caller, const FileHandle& parent, std::string_view name,
                          OpenId open_id, uint32_t flags, uint32_t mode, uint32_t options,
                          Reply<Entry> reply) {
  next().Create(caller, parent, name, open_id, flags, mode, options,
                Watched(std::move(reply), open_id, flags));
}

void VersionLayer::TmpFile(const Caller& caller, const FileHandle& parent, OpenId open_id,
                           uint32_t flags, uint32_t mode, Reply<Entry> reply) {
  next().TmpFile(caller, parent, open_id, flags, mode, Watched(std::move(reply), open_id, flags));
}

void VersionLayer::Release(OpenId open_id, Reply<Unit> reply) {
  versions_.RemoveOpen(open_id);
  next().Release(open_id, std::move(reply));
}

// --- What shows attributes ---

void VersionLayer::Lookup(const Caller& caller, const FileHandle& parent, std::string_view name,
                          Reply<Entry> reply) {
  next().Lookup(caller, parent, name, Watched(std::move(reply), 0, 0));
}

void VersionLayer::Link(const Caller& caller, const FileHandle& handle,
                        const FileHandle& new_parent, std::string_view new_name,
                        Reply<Entry> reply) {
  next().Link(caller, handle, new_parent, new_name, Watched(std::move(reply), 0, 0));
}

void VersionLayer::GetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                           Reply<Attributes> reply) {
  auto watched = [this, name = std::make_unique<FileHandle>(handle)](Result<Attributes>& result) {
    if (result.ok()) versions_.OnAttributes(*name, *result);
  };
  next().GetAttr(caller, handle, open_id, attributes_.Wrap(std::move(reply), std::move(watched)));
}

void VersionLayer::ReadDir(const Caller& caller, ReadDirRequest request, Reply<Payload> reply) {
  if ((request.options & wire::kReadDirPlus) != 0) {
    reply = payloads_.Wrap(std::move(reply), [this](Result<Payload>& payload) {
      if (payload.ok() && versions_.any_open()) ShowRecords(versions_, payload->bytes);
    });
  }
  next().ReadDir(caller, std::move(request), std::move(reply));
}

}  // namespace rdmafs
