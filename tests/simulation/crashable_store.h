// CrashableStore: what one server process sees of a disk: it may fail, be full, and after the
// process was killed nothing of what it does reaches the disk.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/store.h"
#include "tests/simulation/scheduler.h"

namespace rdmafs::simulation {

// Owned by one server; the disk outlives it.
class CrashableStore final : public Store {
 public:
  struct Faults {
    uint64_t full_one_in = 0;   // changes that meet a full disk; 0: none
    uint64_t error_one_in = 0;  // operations that meet a broken one
    uint64_t crash_one_in = 0;  // changes in whose system call the process is killed
  };
  // `crash`: the process is killed now; what its memory says from then on nobody sees.
  CrashableStore(Store& disk, Random& random, const Faults& faults, std::function<void()> crash)
      : disk_(disk), random_(random), faults_(faults), crash_(std::move(crash)) {}

  void Kill() { killed_ = true; }

  Result<StoreEntry> Attach(const Identity& i, std::string_view path) override {
    return killed_ ? Result<StoreEntry>(Errno(EIO)) : disk_.Attach(i, path);
  }
  Result<StoreEntry> Lookup(const Identity& i, const wire::FileHandle& parent,
                            std::string_view name) override {
    return Read([&] { return disk_.Lookup(i, parent, name); });
  }
  Result<wire::FileHandle> Identify(const Identity& i, const wire::FileHandle& parent,
                                    std::string_view name) override {
    return Read([&] { return disk_.Identify(i, parent, name); });
  }
  void Forget(const wire::FileHandle&) override {}
  Result<wire::Attributes> GetAttr(const Identity& i, const wire::FileHandle& h,
                                   OpenFile*) override {
    return Read([&] { return disk_.GetAttr(i, h, nullptr); });
  }
  Result<wire::Attributes> SetAttr(const Identity& i, const wire::FileHandle& h, OpenFile*,
                                   const wire::SetAttributes& changes) override {
    return Change([&] { return disk_.SetAttr(i, h, nullptr, changes); });
  }
  Result<std::string> ReadLink(const Identity& i, const wire::FileHandle& h) override {
    return Read([&] { return disk_.ReadLink(i, h); });
  }
  Result<StoreEntry> MkNod(const Identity& i, const wire::FileHandle& parent, std::string_view name,
                           uint32_t mode, uint32_t major, uint32_t minor) override {
    return Change([&] { return disk_.MkNod(i, parent, name, mode, major, minor); });
  }
  Result<StoreEntry> MkDir(const Identity& i, const wire::FileHandle& parent, std::string_view name,
                           uint32_t mode) override {
    return Change([&] { return disk_.MkDir(i, parent, name, mode); });
  }
  Errno Unlink(const Identity& i, const wire::FileHandle& parent, std::string_view name) override {
    return ChangeOnly([&] { return disk_.Unlink(i, parent, name); });
  }
  Errno RmDir(const Identity& i, const wire::FileHandle& parent, std::string_view name) override {
    return ChangeOnly([&] { return disk_.RmDir(i, parent, name); });
  }
  Result<StoreEntry> SymLink(const Identity& i, const wire::FileHandle& parent,
                             std::string_view name, std::string_view target) override {
    return Change([&] { return disk_.SymLink(i, parent, name, target); });
  }
  Errno Rename(const Identity& i, const wire::FileHandle& parent, std::string_view name,
               const wire::FileHandle& new_parent, std::string_view new_name,
               uint32_t flags) override {
    return ChangeOnly([&] { return disk_.Rename(i, parent, name, new_parent, new_name, flags); });
  }
  Result<StoreEntry> Link(const Identity& i, const wire::FileHandle& h,
                          const wire::FileHandle& parent, std::string_view name) override {
    return Change([&] { return disk_.Link(i, h, parent, name); });
  }
  Errno Access(const Identity& i, const wire::FileHandle& h, uint32_t mask) override {
    return disk_.Access(i, h, mask);
  }
  Result<wire::FileSystemStatistics> StatFs(const Identity& i, const wire::FileHandle& h) override {
    return disk_.StatFs(i, h);
  }
  Errno SyncFs(const wire::FileHandle& h) override { return disk_.SyncFs(h); }
  Result<Opened> Open(const Identity& i, const wire::FileHandle& h, uint32_t flags,
                      bool kill) override {
    return Wrapped(Read([&] { return disk_.Open(i, h, flags, kill); }));
  }
  Result<Opened> Create(const Identity& i, const wire::FileHandle& parent, std::string_view name,
                        uint32_t flags, uint32_t mode, bool kill) override {
    return Wrapped(Change([&] { return disk_.Create(i, parent, name, flags, mode, kill); }));
  }
  Result<Opened> TmpFile(const Identity& i, const wire::FileHandle& parent, uint32_t flags,
                         uint32_t mode) override {
    return Wrapped(Change([&] { return disk_.TmpFile(i, parent, flags, mode); }));
  }
  Result<uint64_t> GetXattr(const Identity& i, const wire::FileHandle& h, std::string_view name,
                            absl::Span<std::byte> into) override {
    return Read([&] { return disk_.GetXattr(i, h, name, into); });
  }
  Result<uint64_t> ListXattr(const Identity& i, const wire::FileHandle& h,
                             absl::Span<std::byte> into) override {
    return Read([&] { return disk_.ListXattr(i, h, into); });
  }
  Errno SetXattr(const Identity& i, const wire::FileHandle& h, std::string_view name,
                 std::string_view value, uint32_t flags, bool kill) override {
    return ChangeOnly([&] { return disk_.SetXattr(i, h, name, value, flags, kill); });
  }
  Errno RemoveXattr(const Identity& i, const wire::FileHandle& h, std::string_view name) override {
    return ChangeOnly([&] { return disk_.RemoveXattr(i, h, name); });
  }

 private:
  class File;

  Errno Admit(bool changes) {
    if (killed_ || random_.OneIn(faults_.error_one_in)) return Errno(EIO);
    return changes && random_.OneIn(faults_.full_one_in) ? Errno(ENOSPC) : kOk;
  }
  template <typename F>
  auto Read(F f) -> decltype(f()) {
    if (Errno error = Admit(false); !error.ok()) return error;
    return f();
  }
  template <typename F>
  auto Change(F f) -> decltype(f()) {
    if (Errno error = Admit(true); !error.ok()) return error;
    if (!random_.OneIn(faults_.crash_one_in)) return f();
    // Before it was done, or right after.
    if (random_.OneIn(2)) (void)f();
    killed_ = true;
    crash_();
    return Errno(EIO);
  }
  template <typename F>
  Errno ChangeOnly(F f) {
    return Change([&] { return ToResult(f()); }).error();
  }
  Result<Opened> Wrapped(Result<Opened> opened);

  Store& disk_;
  Random& random_;
  const Faults faults_;
  const std::function<void()> crash_;
  bool killed_ = false;
};

class CrashableStore::File final : public OpenFile {
 public:
  File(CrashableStore& store, std::shared_ptr<OpenFile> file)
      : store_(store), file_(std::move(file)) {}
  const wire::FileHandle& handle() const override { return file_->handle(); }
  FileId id() const override { return file_->id(); }
  uint32_t flags() const override { return file_->flags(); }
  int fd() const override { return -1; }
  Result<uint64_t> ReadNoWait(absl::Span<std::byte> into, uint64_t offset) override {
    if (store_.random_.OneIn(2)) return Errno(EAGAIN);
    return store_.Read([&] { return file_->ReadNoWait(into, offset); });
  }
  Result<uint64_t> WriteNoWait(absl::Span<const iovec> pieces, uint64_t offset) override {
    if (store_.random_.OneIn(2)) return Errno(EAGAIN);
    if (Errno error = store_.Admit(true); !error.ok()) return error;
    return file_->WriteNoWait(pieces, offset);
  }
  Result<uint64_t> Read(absl::Span<std::byte> into, uint64_t offset) override {
    return store_.Read([&] { return file_->Read(into, offset); });
  }
  Result<uint64_t> Write(absl::Span<const iovec> pieces, uint64_t offset, bool kill,
                         const Identity& i) override {
    return store_.Change([&] { return file_->Write(pieces, offset, kill, i); });
  }
  Errno Fsync(bool data_only) override {
    return store_.ChangeOnly([&] { return file_->Fsync(data_only); });
  }
  Errno Fallocate(const Identity& i, uint64_t offset, uint64_t length, uint32_t mode) override {
    return store_.ChangeOnly([&] { return file_->Fallocate(i, offset, length, mode); });
  }
  Result<uint64_t> Seek(uint64_t offset, uint32_t whence) override {
    return file_->Seek(offset, whence);
  }
  Result<uint64_t> CopyRange(const Identity&, uint64_t, OpenFile&, uint64_t, uint64_t) override {
    return Errno(EOPNOTSUPP);
  }
  Result<uint64_t> ReadDir(const Identity& i, uint64_t cookie, bool plus,
                           absl::Span<std::byte> into) override {
    return file_->ReadDir(i, cookie, plus, into);
  }

 private:
  CrashableStore& store_;
  const std::shared_ptr<OpenFile> file_;
};

inline Result<Store::Opened> CrashableStore::Wrapped(Result<Opened> opened) {
  if (opened.ok()) opened->file = std::make_shared<File>(*this, std::move(opened->file));
  return opened;
}

}  // namespace rdmafs::simulation
