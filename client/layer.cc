#include "client/layer.h"

#include <utility>

namespace rdmafs {

void Layer::Lookup(const Caller& caller, const FileHandle& parent, std::string_view name,
                   Reply<Entry> reply) {
  next_.Lookup(caller, parent, name, std::move(reply));
}
void Layer::Forget(const FileHandle& handle) { next_.Forget(handle); }
void Layer::GetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                    Reply<Attributes> reply) {
  next_.GetAttr(caller, handle, open_id, std::move(reply));
}
void Layer::SetAttr(const Caller& caller, const FileHandle& handle, OpenId open_id,
                    const SetAttributes& attributes, Reply<Attributes> reply) {
  next_.SetAttr(caller, handle, open_id, attributes, std::move(reply));
}
void Layer::ReadLink(const Caller& caller, const FileHandle& handle, Reply<Payload> reply) {
  next_.ReadLink(caller, handle, std::move(reply));
}
void Layer::MkNod(const Caller& caller, const FileHandle& parent, std::string_view name,
                  uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor, Reply<Entry> reply) {
  next_.MkNod(caller, parent, name, mode, rdev_major, rdev_minor, std::move(reply));
}
void Layer::MkDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                  uint32_t mode, Reply<Entry> reply) {
  next_.MkDir(caller, parent, name, mode, std::move(reply));
}
void Layer::Unlink(const Caller& caller, const FileHandle& parent, std::string_view name,
                   Reply<Attributes> reply) {
  next_.Unlink(caller, parent, name, std::move(reply));
}
void Layer::RmDir(const Caller& caller, const FileHandle& parent, std::string_view name,
                  Reply<Attributes> reply) {
  next_.RmDir(caller, parent, name, std::move(reply));
}
void Layer::SymLink(const Caller& caller, const FileHandle& parent, std::string_view name,
                    std::string_view target, Reply<Entry> reply) {
  next_.SymLink(caller, parent, name, target, std::move(reply));
}
void Layer::Rename(const Caller& caller, const FileHandle& parent, std::string_view name,
                   const FileHandle& new_parent, std::string_view new_name, uint32_t flags,
                   Reply<Attributes> reply) {
  next_.Rename(caller, parent, name, new_parent, new_name, flags, std::move(reply));
}
void Layer::Link(const Caller& caller, const FileHandle& handle, const FileHandle& new_parent,
                 std::string_view new_name, Reply<Entry> reply) {
  next_.Link(caller, handle, new_parent, new_name, std::move(reply));
}
void Layer::Access(const Caller& caller, const FileHandle& handle, uint32_t mask,
                   Reply<Unit> reply) {
  next_.Access(caller, handle, mask, std::move(reply));
}
void Layer::StatFs(const Caller& caller, const FileHandle& handle,
                   Reply<FileSystemStatistics> reply) {
  next_.StatFs(caller, handle, std::move(reply));
}
void Layer::SyncFs(const Caller& caller, const FileHandle& handle, Reply<Unit> reply) {
  next_.SyncFs(caller, handle, std::move(reply));
}
OpenId Layer::NewOpenId() { return next_.NewOpenId(); }
void Layer::Open(const Caller& caller, const FileHandle& handle, OpenId open_id, uint32_t flags,
                 uint32_t options, Reply<Attributes> reply) {
  next_.Open(caller, handle, open_id, flags, options, std::move(reply));
}
void Layer::OpenAndRead(const Caller& caller, const FileHandle& handle, uint32_t flags,
                        uint32_t options, ReadRequest first, Reply<OpenedFile> reply) {
  next_.OpenAndRead(caller, handle, flags, options, std::move(first), std::move(reply));
}
void Layer::Create(const Caller& caller, const FileHandle& parent, std::string_view name,
                   OpenId open_id, uint32_t flags, uint32_t mode, uint32_t options,
                   Reply<Entry> reply) {
  next_.Create(caller, parent, name, open_id, flags, mode, options, std::move(reply));
}
void Layer::TmpFile(const Caller& caller, const FileHandle& parent, OpenId open_id, uint32_t flags,
                    uint32_t mode, Reply<Entry> reply) {
  next_.TmpFile(caller, parent, open_id, flags, mode, std::move(reply));
}
void Layer::Release(OpenId open_id, Reply<Unit> reply) { next_.Release(open_id, std::move(reply)); }
void Layer::Read(ReadRequest request, Reply<Payload> reply) {
  next_.Read(std::move(request), std::move(reply));
}
void Layer::Write(WriteRequest request, Reply<uint64_t> reply) {
  next_.Write(std::move(request), std::move(reply));
}
void Layer::Fsync(OpenId open_id, bool data_only, Reply<Unit> reply) {
  next_.Fsync(open_id, data_only, std::move(reply));
}
void Layer::Fallocate(const Caller& caller, OpenId open_id, uint64_t offset, uint64_t length,
                      uint32_t mode, Reply<Unit> reply) {
  next_.Fallocate(caller, open_id, offset, length, mode, std::move(reply));
}
void Layer::Seek(OpenId open_id, uint64_t offset, uint32_t whence, Reply<uint64_t> reply) {
  next_.Seek(open_id, offset, whence, std::move(reply));
}
void Layer::CopyFileRange(const Caller& caller, const CopyFileRangeRequest& request,
                          Reply<uint64_t> reply) {
  next_.CopyFileRange(caller, request, std::move(reply));
}
void Layer::ReadDir(const Caller& caller, ReadDirRequest request, Reply<Payload> reply) {
  next_.ReadDir(caller, std::move(request), std::move(reply));
}
void Layer::GetXattr(const Caller& caller, const FileHandle& handle, std::string_view name,
                     uint32_t size, PayloadMemory destination, Reply<XattrValue> reply) {
  next_.GetXattr(caller, handle, name, size, std::move(destination), std::move(reply));
}
void Layer::ListXattr(const Caller& caller, const FileHandle& handle, uint32_t size,
                      PayloadMemory destination, Reply<XattrValue> reply) {
  next_.ListXattr(caller, handle, size, std::move(destination), std::move(reply));
}
void Layer::SetXattr(const Caller& caller, const FileHandle& handle, std::string_view name,
                     PayloadMemory value, uint32_t flags, uint32_t options, Reply<Unit> reply) {
  next_.SetXattr(caller, handle, name, std::move(value), flags, options, std::move(reply));
}
void Layer::RemoveXattr(const Caller& caller, const FileHandle& handle, std::string_view name,
                        Reply<Unit> reply) {
  next_.RemoveXattr(caller, handle, name, std::move(reply));
}
void Layer::GetLock(OpenId open_id, const LockRange& range, uint32_t flags,
                    Reply<LockRange> reply) {
  next_.GetLock(open_id, range, flags, std::move(reply));
}
CancelToken Layer::SetLock(OpenId open_id, const LockRange& range, uint32_t flags,
                           Reply<Unit> reply) {
  return next_.SetLock(open_id, range, flags, std::move(reply));
}
void Layer::CancelLock(CancelToken token) { next_.CancelLock(token); }
void Layer::GiveUp(absl::Span<const std::byte> memory) { next_.GiveUp(memory); }
void Layer::ReleaseOwner(OpenId open_id, uint64_t owner, Reply<Unit> reply) {
  next_.ReleaseOwner(open_id, owner, std::move(reply));
}

}  // namespace rdmafs
