// MemoryStore: a Store of a few files in memory, for tests of what stands before the store.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/attachment.h"
#include "server/store.h"

namespace rdmafs::server {

// Thread-safe. One directory of regular files. What a worker does can be held up (Gate), and the
// calls that must not wait can be made to say that they would.
class MemoryStore final : public Store {
 public:
  static constexpr uint32_t kExportId = 7;

  // Lets workers through, or holds them up at the next operation that would block.
  class Gate {
   public:
    void Close();
    void Open();
    // How many wait at it now.
    int waiting_count() const;
    // Blocks until `count` wait at it.
    void AwaitWaiting(int count);
    void Pass();

   private:
    mutable absl::Mutex mutex_;
    absl::CondVar changed_;
    bool closed_ ABSL_GUARDED_BY(mutex_) = false;
    int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  };
  Gate gate;
  Gate shard_gate;  // holds a shard's thread up, at ReadNoWait
  std::atomic<bool> no_wait_would_wait{false};  // ReadNoWait and WriteNoWait answer EAGAIN
  std::atomic<uint64_t> bytes_in_memory{0};  // what files say of them; and writes never wait then
  std::atomic<bool> with_descriptors{false};    // files opened from now on have an fd() to a copy
  std::atomic<int> descriptor{-1};  // files opened from now on have a duplicate of it as their fd()
  std::atomic<bool> reads_fail{false};          // on workers, with EIO
  std::atomic<int> open_count{0};               // OpenFiles that exist

  void Put(const std::string& name, std::string content);
  std::string Get(const std::string& name) const;

  Result<StoreEntry> Attach(const Identity&, std::string_view path) override;
  Result<StoreEntry> Lookup(const Identity&, const wire::FileHandle& parent,
                            std::string_view name) override;
  Result<wire::FileHandle> Identify(const Identity&, const wire::FileHandle& parent,
                                    std::string_view name) override;
  void Forget(const wire::FileHandle&) override {}
  Result<wire::Attributes> GetAttr(const Identity&, const wire::FileHandle&,
                                   OpenFile* open) override;
  Result<wire::Attributes> SetAttr(const Identity&, const wire::FileHandle&, OpenFile* open,
                                   const wire::SetAttributes&) override;
  Result<std::string> ReadLink(const Identity&, const wire::FileHandle&) override;
  Result<StoreEntry> MkNod(const Identity&, const wire::FileHandle& parent, std::string_view name,
                           uint32_t mode, uint32_t, uint32_t) override;
  Result<StoreEntry> MkDir(const Identity&, const wire::FileHandle&, std::string_view,
                           uint32_t) override;
  Errno Unlink(const Identity&, const wire::FileHandle& parent, std::string_view name) override;
  Errno RmDir(const Identity&, const wire::FileHandle&, std::string_view) override;
  Result<StoreEntry> SymLink(const Identity&, const wire::FileHandle&, std::string_view,
                             std::string_view) override;
  Errno Rename(const Identity&, const wire::FileHandle&, std::string_view, const wire::FileHandle&,
               std::string_view, uint32_t) override;
  Result<StoreEntry> Link(const Identity&, const wire::FileHandle&, const wire::FileHandle&,
                          std::string_view) override;
  Errno Access(const Identity&, const wire::FileHandle&, uint32_t) override;
  Result<wire::FileSystemStatistics> StatFs(const Identity&, const wire::FileHandle&) override;
  Errno SyncFs(const wire::FileHandle&) override;
  Result<Opened> Open(const Identity&, const wire::FileHandle&, uint32_t flags, bool) override;
  Result<Opened> Create(const Identity&, const wire::FileHandle& parent, std::string_view name,
                        uint32_t flags, uint32_t mode, bool) override;
  Result<Opened> TmpFile(const Identity&, const wire::FileHandle&, uint32_t flags,
                         uint32_t) override;
  Result<uint64_t> GetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                            absl::Span<std::byte> into) override;
  Result<uint64_t> ListXattr(const Identity&, const wire::FileHandle&,
                             absl::Span<std::byte> into) override;
  Errno SetXattr(const Identity&, const wire::FileHandle&, std::string_view name,
                 std::string_view value, uint32_t, bool) override;
  Errno RemoveXattr(const Identity&, const wire::FileHandle&, std::string_view name) override;

 private:
  class File;
  friend class File;
  struct Node {
    std::string content;
    std::map<std::string, std::string> xattrs;
    timespec ctime{};
    uint32_t uid = 0;
  };

  static wire::FileHandle HandleOf(uint64_t inode);
  // EBADF for a handle that is none of ours.
  static Result<uint64_t> InodeOf(const wire::FileHandle& handle);
  Result<std::shared_ptr<Node>> Find(const wire::FileHandle& handle) const;
  Errno CheckRoot(const wire::FileHandle& handle) const;
  StoreEntry EntryOf(uint64_t inode) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Result<Opened> OpenInode(uint64_t inode, uint32_t flags);

  static constexpr uint64_t kRoot = 1;
  mutable absl::Mutex mutex_;
  std::map<std::string, uint64_t> names_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::shared_ptr<Node>> nodes_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_inode_ ABSL_GUARDED_BY(mutex_) = kRoot + 1;
};

// Exports one store to everyone as "/export", with rules that a test may choose.
class OneExport final : public ExportSource {
 public:
  explicit OneExport(std::shared_ptr<Store> store);
  // Set before the server starts.
  bool read_only = false;
  SquashRule squash;
  SecurityFlavors security;
  std::atomic<bool> withdrawn{false};

  SecurityFlavors Offered() const override { return security; }

  Result<Found> Find(const Exports::Peer& peer, std::string_view path) override;

 private:
  const std::shared_ptr<Store> store_;
};

}  // namespace rdmafs::server
