// Layer: a file system over another one. Forwards every operation; a layer overrides what it
// changes.
#pragma once

#include "client/file_system.h"

namespace rdmafs {

// Owned by one shard thread, as every FileSystem. A layer that looks at answers on the data path
// wraps the reply with a ReplyChain (client/reply_chain.h). The next one may be destroyed first,
// and answers what is under way then; the layer is called no more after that.
class Layer : public FileSystem {
 public:
  explicit Layer(FileSystem& next) : next_(next) {}

  void Lookup(const Caller&, const FileHandle& parent, std::string_view name,
              Reply<Entry>) override;
  void Forget(const FileHandle&) override;
  void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes>) override;
  void SetAttr(const Caller&, const FileHandle&, OpenId, const SetAttributes&,
               Reply<Attributes>) override;
  void ReadLink(const Caller&, const FileHandle&, Reply<Payload>) override;
  void MkNod(const Caller&, const FileHandle& parent, std::string_view name, uint32_t mode,
             uint32_t rdev_major, uint32_t rdev_minor, Reply<Entry>) override;
  void MkDir(const Caller&, const FileHandle& parent, std::string_view name, uint32_t mode,
             Reply<Entry>) override;
  void Unlink(const Caller&, const FileHandle& parent, std::string_view name,
              Reply<Attributes>) override;
  void RmDir(const Caller&, const FileHandle& parent, std::string_view name,
             Reply<Attributes>) override;
  void SymLink(const Caller&, const FileHandle& parent, std::string_view name,
               std::string_view target, Reply<Entry>) override;
  void Rename(const Caller&, const FileHandle& parent, std::string_view name,
              const FileHandle& new_parent, std::string_view new_name, uint32_t flags,
              Reply<Attributes>) override;
  void Link(const Caller&, const FileHandle&, const FileHandle& new_parent,
            std::string_view new_name, Reply<Entry>) override;
  void Access(const Caller&, const FileHandle&, uint32_t mask, Reply<Unit>) override;
  void StatFs(const Caller&, const FileHandle&, Reply<FileSystemStatistics>) override;
  void SyncFs(const Caller&, const FileHandle&, Reply<Unit>) override;
  OpenId NewOpenId() override;
  void Open(const Caller&, const FileHandle&, OpenId, uint32_t flags, uint32_t options,
            Reply<Attributes>) override;
  void OpenAndRead(const Caller&, const FileHandle&, uint32_t flags, uint32_t options,
                   ReadRequest first, Reply<OpenedFile>) override;
  void Create(const Caller&, const FileHandle& parent, std::string_view name, OpenId,
              uint32_t flags, uint32_t mode, uint32_t options, Reply<Entry>) override;
  void TmpFile(const Caller&, const FileHandle& parent, OpenId, uint32_t flags, uint32_t mode,
               Reply<Entry>) override;
  void Release(OpenId, Reply<Unit>) override;
  void Read(ReadRequest, Reply<Payload>) override;
  void Write(WriteRequest, Reply<uint64_t>) override;
  void Fsync(OpenId, bool data_only, Reply<Unit>) override;
  void Fallocate(const Caller&, OpenId, uint64_t offset, uint64_t length, uint32_t mode,
                 Reply<Unit>) override;
  void Seek(OpenId, uint64_t offset, uint32_t whence, Reply<uint64_t>) override;
  void CopyFileRange(const Caller&, const CopyFileRangeRequest&, Reply<uint64_t>) override;
  void ReadDir(const Caller&, ReadDirRequest, Reply<Payload>) override;
  void GetXattr(const Caller&, const FileHandle&, std::string_view name, uint32_t size,
                PayloadMemory destination, Reply<XattrValue>) override;
  void ListXattr(const Caller&, const FileHandle&, uint32_t size, PayloadMemory destination,
                 Reply<XattrValue>) override;
  void SetXattr(const Caller&, const FileHandle&, std::string_view name, PayloadMemory value,
                uint32_t flags, uint32_t options, Reply<Unit>) override;
  void RemoveXattr(const Caller&, const FileHandle&, std::string_view name, Reply<Unit>) override;
  void GetLock(OpenId, const LockRange&, uint32_t flags, Reply<LockRange>) override;
  CancelToken SetLock(OpenId, const LockRange&, uint32_t flags, Reply<Unit>) override;
  void CancelLock(CancelToken) override;
  void GiveUp(absl::Span<const std::byte> memory) override;
  void ReleaseOwner(OpenId, uint64_t owner, Reply<Unit>) override;
  bool HasLostWrites(OpenId id) const override { return next_.HasLostWrites(id); }

 protected:
  FileSystem& next() { return next_; }

 private:
  FileSystem& next_;
};

}  // namespace rdmafs
