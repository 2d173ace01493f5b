// VersionLayer: tells InodeVersions which files are open and what changes them.
#pragma once

#include <memory>
#include <unordered_map>

#include "client/inode_versions.h"
#include "client/layer.h"
#include "client/reply_chain.h"

namespace rdmafs {

// Every shard of a mount has one, below the layers that cache file data: no change of content
// passes that InodeVersions does not hear of twice, and no attributes go up that it has not seen.
// Owned by one shard thread.
class VersionLayer final : public Layer {
 public:
  // `versions` outlives it.
  VersionLayer(FileSystem& next, EventLoop& loop, InodeVersions& versions);
  ~VersionLayer() override;

  void Lookup(const Caller&, const FileHandle& parent, std::string_view name,
              Reply<Entry>) override;
  void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes>) override;
  void SetAttr(const Caller&, const FileHandle&, OpenId, const SetAttributes&,
               Reply<Attributes>) override;
  void Link(const Caller&, const FileHandle&, const FileHandle& new_parent,
            std::string_view new_name, Reply<Entry>) override;
  void Open(const Caller&, const FileHandle&, OpenId, uint32_t flags, uint32_t options,
            Reply<Attributes>) override;
  void OpenAndRead(const Caller&, const FileHandle&, uint32_t flags, uint32_t options,
                   ReadRequest first, Reply<OpenedFile>) override;
  void Create(const Caller&, const FileHandle& parent, std::string_view name, OpenId,
              uint32_t flags, uint32_t mode, uint32_t options, Reply<Entry>) override;
  void TmpFile(const Caller&, const FileHandle& parent, OpenId, uint32_t flags, uint32_t mode,
               Reply<Entry>) override;
  void Release(OpenId, Reply<Unit>) override;
  void Write(WriteRequest, Reply<uint64_t>) override;
  void Fallocate(const Caller&, OpenId, uint64_t offset, uint64_t length, uint32_t mode,
                 Reply<Unit>) override;
  void CopyFileRange(const Caller&, const CopyFileRangeRequest&, Reply<uint64_t>) override;
  void ReadDir(const Caller&, ReadDirRequest, Reply<Payload>) override;
  // Who gets a lock reads what its last holder, perhaps another client, has written.
  CancelToken SetLock(OpenId, const LockRange&, uint32_t flags, Reply<Unit>) override;

 private:
  // A Look that ends the change which it begins.
  template <typename T>
  auto Change(ContentVersion& content) {
    content.BeginChange();
    return [&content](Result<T>&) { content.EndChange(); };
  }
  // A Look at the answer to an open of `handle`, which is open from now on unless that fails.
  template <typename T>
  auto Opened(const FileHandle& handle, OpenId open_id, uint32_t flags) {
    versions_.AddOpen(open_id, handle, flags);
    return [this, open_id, name = std::make_unique<FileHandle>(handle)](Result<T>& result) {
      if (!result.ok()) return versions_.RemoveOpen(open_id);
      if constexpr (std::is_same_v<T, OpenedFile>) {
        versions_.OnAttributes(*name, result->attributes);
      } else {
        versions_.OnAttributes(*name, *result);
      }
    };
  }
  // For the entry that the answer shows, made open by `open_id` (0: only shown).
  Reply<Entry> Watched(Reply<Entry> reply, OpenId open_id, uint32_t flags);
  // nullptr for a file that is not open.
  std::shared_ptr<OpenInode> InodeOf(OpenId open_id);

  InodeVersions& versions_;
  // Before shard_: releases posted to the loop look whether the layer still stands.
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  const size_t shard_;
  // Files that were written through this shard, so that a write takes no lock.
  std::unordered_map<OpenId, std::shared_ptr<OpenInode>> inodes_;

  ReplyChain<Entry> entries_;
  ReplyChain<Attributes> attributes_;
  ReplyChain<OpenedFile> opened_;
  ReplyChain<uint64_t> counts_;
  ReplyChain<Unit> units_;
  ReplyChain<Payload> payloads_;
};

}  // namespace rdmafs
