// RemoteFileSystem: the layer at the bottom of the stack: each operation is one call to the server.
#pragma once

#include <memory>
#include <vector>

#include "client/file_system.h"
#include "client/open_table.h"
#include "transport/rpc/call_channel.h"

namespace rdmafs {

// `text` as inline payload, in a block of `messages`: a device only sends out of registered memory,
// and the text need not stay. No `hold` when there is no block.
CallPayload InlineText(BufferPool& messages, std::string_view text);

// Owned by one shard thread (see FileSystem). Its channels are connected and resumed by Client.
class RemoteFileSystem final : public FileSystem {
 public:
  // `open_table` is shared by the shards of a mount and outlives them. At least one channel; with
  // several, payload over wire::kMaxInlineBytes goes over all but the first, so that small messages
  // do not queue behind it.
  RemoteFileSystem(EventLoop& loop, CallChannel::Owner& owner, BufferPool& messages,
                   OpenTable& open_table, int channel_count);
  ~RemoteFileSystem() override;

  CallChannel& channel(size_t index) { return *channels_[index]; }
  size_t channel_count() const { return channels_.size(); }
  // Whether the server wants to hear Forget. Shard thread.
  void set_wants_forget(bool wants) { wants_forget_ = wants; }
  // Whether every file is opened as with O_SYNC. Before it is used.
  void set_sync(bool sync) { sync_ = sync; }

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

  OpenId NewOpenId() override { return open_table_.NewId(); }
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
  bool HasLostWrites(OpenId id) const override { return open_table_.HasLoss(id); }

 private:
  // For messages, and payload that travels in them.
  CallChannel& Small() { return *channels_[0]; }
  // For payload of `size` bytes.
  CallChannel& For(size_t size);
  // `size` bytes at most into `destination` or the reply itself.
  CallPayload Sink(uint32_t size, PayloadMemory destination);
  CallPayload Source(PayloadMemory source);
  uint32_t WithSync(uint32_t flags) const;
  void NoteWritten(OpenId open_id);

  BufferPool& messages_;
  OpenTable& open_table_;
  std::vector<std::unique_ptr<CallChannel>> channels_;
  size_t next_bulk_ = 0;
  bool wants_forget_ = false;
  bool sync_ = false;
  OpenId last_written_ = 0;
  std::shared_ptr<WriteState> last_state_;  // its
};

}  // namespace rdmafs
