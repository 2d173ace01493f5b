// RefusingFileSystem: answers every operation with ENOSYS; a test's file system overrides what it
// serves.
#pragma once

#include "client/file_system.h"

namespace rdmafs {

class RefusingFileSystem : public FileSystem {
 public:
  void Lookup(const Caller&, const FileHandle&, std::string_view, Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Forget(const FileHandle&) override {}
  void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void SetAttr(const Caller&, const FileHandle&, OpenId, const SetAttributes&,
               Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void ReadLink(const Caller&, const FileHandle&, Reply<Payload> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void MkNod(const Caller&, const FileHandle&, std::string_view, uint32_t, uint32_t, uint32_t,
             Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void MkDir(const Caller&, const FileHandle&, std::string_view, uint32_t,
             Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Unlink(const Caller&, const FileHandle&, std::string_view,
              Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void RmDir(const Caller&, const FileHandle&, std::string_view, Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void SymLink(const Caller&, const FileHandle&, std::string_view, std::string_view,
               Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Rename(const Caller&, const FileHandle&, std::string_view, const FileHandle&,
              std::string_view, uint32_t, Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Link(const Caller&, const FileHandle&, const FileHandle&, std::string_view,
            Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Access(const Caller&, const FileHandle&, uint32_t, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void StatFs(const Caller&, const FileHandle&, Reply<FileSystemStatistics> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void SyncFs(const Caller&, const FileHandle&, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  OpenId NewOpenId() override { return next_open_id_++; }
  void OpenAndRead(const Caller&, const FileHandle&, uint32_t, uint32_t, ReadRequest,
                   Reply<OpenedFile> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Open(const Caller&, const FileHandle&, OpenId, uint32_t, uint32_t,
            Reply<Attributes> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Create(const Caller&, const FileHandle&, std::string_view, OpenId, uint32_t, uint32_t,
              uint32_t, Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void TmpFile(const Caller&, const FileHandle&, OpenId, uint32_t, uint32_t,
               Reply<Entry> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Release(OpenId, Reply<Unit> reply) override { reply.Complete(Errno(ENOSYS)); }
  void Read(ReadRequest, Reply<Payload> reply) override { reply.Complete(Errno(ENOSYS)); }
  void Write(WriteRequest, Reply<uint64_t> reply) override { reply.Complete(Errno(ENOSYS)); }
  void Fsync(OpenId, bool, Reply<Unit> reply) override { reply.Complete(Errno(ENOSYS)); }
  void Fallocate(const Caller&, OpenId, uint64_t, uint64_t, uint32_t, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void Seek(OpenId, uint64_t, uint32_t, Reply<uint64_t> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void CopyFileRange(const Caller&, const CopyFileRangeRequest&, Reply<uint64_t> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void ReadDir(const Caller&, ReadDirRequest, Reply<Payload> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void GetXattr(const Caller&, const FileHandle&, std::string_view, uint32_t, PayloadMemory,
                Reply<XattrValue> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void ListXattr(const Caller&, const FileHandle&, uint32_t, PayloadMemory,
                 Reply<XattrValue> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void SetXattr(const Caller&, const FileHandle&, std::string_view, PayloadMemory, uint32_t,
                uint32_t, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void RemoveXattr(const Caller&, const FileHandle&, std::string_view, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  void GetLock(OpenId, const LockRange&, uint32_t, Reply<LockRange> reply) override {
    reply.Complete(Errno(ENOSYS));
  }
  CancelToken SetLock(OpenId, const LockRange&, uint32_t, Reply<Unit> reply) override {
    reply.Complete(Errno(ENOSYS));
    return 0;
  }
  void CancelLock(CancelToken) override {}
  void GiveUp(absl::Span<const std::byte>) override {}
  void ReleaseOwner(OpenId, uint64_t, Reply<Unit> reply) override { reply.Complete(Errno(ENOSYS)); }

 private:
  OpenId next_open_id_ = 1;
};

}  // namespace rdmafs
