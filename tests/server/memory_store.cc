#include "tests/server/memory_store.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "transport/base/unique_fd.h"

namespace rdmafs::server {

void MemoryStore::Gate::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

void MemoryStore::Gate::Open() {
  absl::MutexLock lock(&mutex_);
  closed_ = false;
  changed_.SignalAll();
}

int MemoryStore::Gate::waiting_count() const {
  absl::MutexLock lock(&mutex_);
  return waiting_;
}

void MemoryStore::Gate::AwaitWaiting(int count) {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  absl::MutexLock lock(&mutex_);
  while (waiting_ < count) CHECK(!changed_.WaitWithDeadline(&mutex_, deadline));
}

void MemoryStore::Gate::Pass() {
  absl::MutexLock lock(&mutex_);
  ++waiting_;
  changed_.SignalAll();
  while (closed_) changed_.Wait(&mutex_);
  --waiting_;
}

// An open file of the store. Content is that of its node, whatever happens to the name.
class MemoryStore::File final : public OpenFile {
 public:
  File(MemoryStore& store, uint64_t inode, std::shared_ptr<Node> node, uint32_t flags)
      : store_(store),
        handle_(HandleOf(inode)),
        inode_(inode),
        node_(std::move(node)),
        flags_(flags) {
    store_.open_count.fetch_add(1);
    if (store_.descriptor >= 0) fd_.reset(dup(store_.descriptor));
    if (!store_.with_descriptors) return;
    UniqueFd memory(memfd_create("rdmafs-test", MFD_CLOEXEC));
    CHECK(write(memory.get(), node_->content.data(), node_->content.size()) ==
          static_cast<ssize_t>(node_->content.size()));
    const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
    fd_.reset(open(path.c_str(), static_cast<int>(flags_ & O_ACCMODE) | O_CLOEXEC));
    CHECK(fd_.valid());
  }
  ~File() override { store_.open_count.fetch_sub(1); }

  const wire::FileHandle& handle() const override { return handle_; }
  FileId id() const override { return {1, inode_}; }
  uint32_t flags() const override { return flags_; }
  int fd() const override { return fd_.get(); }

  bool WritesNeverWait() const override { return store_.bytes_in_memory != 0; }
  bool InMemory(uint64_t at, uint64_t size) override { return at + size <= store_.bytes_in_memory; }
  Result<uint64_t> ReadNoWait(absl::Span<std::byte> into, uint64_t offset) override {
    store_.shard_gate.Pass();
    if (store_.no_wait_would_wait) return Errno(EAGAIN);
    return ReadBytes(into, offset);
  }
  Result<uint64_t> WriteNoWait(absl::Span<const iovec> pieces, uint64_t offset) override {
    if (store_.no_wait_would_wait) return Errno(EAGAIN);
    return WriteBytes(pieces, offset);
  }
  Result<uint64_t> Read(absl::Span<std::byte> into, uint64_t offset) override {
    store_.gate.Pass();
    if (store_.reads_fail) return Errno(EIO);
    return ReadBytes(into, offset);
  }
  Result<uint64_t> Write(absl::Span<const iovec> pieces, uint64_t offset, bool,
                         const Identity&) override {
    store_.gate.Pass();
    return WriteBytes(pieces, offset);
  }
  Errno Fsync(bool) override {
    store_.gate.Pass();
    return kOk;
  }
  Errno Fallocate(const Identity&, uint64_t, uint64_t, uint32_t) override {
    return Errno(EOPNOTSUPP);
  }
  Result<uint64_t> Seek(uint64_t offset, uint32_t) override { return offset; }
  Result<uint64_t> CopyRange(const Identity&, uint64_t offset, OpenFile& out, uint64_t out_offset,
                             uint64_t length) override {
    std::string bytes(std::min<uint64_t>(length, 1 << 20), '\0');
    Result<uint64_t> count =
        ReadBytes(absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size()), offset);
    if (!count.ok()) return count;
    const iovec piece{bytes.data(), *count};
    return out.Write({&piece, 1}, out_offset, false, {});
  }
  Result<uint64_t> ReadDir(const Identity&, uint64_t, bool, absl::Span<std::byte>) override {
    store_.gate.Pass();
    return uint64_t{0};
  }

 private:
  Result<uint64_t> ReadBytes(absl::Span<std::byte> into, uint64_t offset) {
    if ((flags_ & O_ACCMODE) == O_WRONLY) return Errno(EBADF);
    absl::MutexLock lock(&store_.mutex_);
    if (offset >= node_->content.size()) return uint64_t{0};
    const uint64_t count = std::min<uint64_t>(into.size(), node_->content.size() - offset);
    std::memcpy(into.data(), node_->content.data() + offset, count);
    return count;
  }
  Result<uint64_t> WriteBytes(absl::Span<const iovec> pieces, uint64_t offset) {
    if ((flags_ & O_ACCMODE) == O_RDONLY) return Errno(EBADF);
    absl::MutexLock lock(&store_.mutex_);
    std::string& content = node_->content;
    if ((flags_ & O_APPEND) != 0) offset = content.size();
    if (offset > kMaxFileBytes) return Errno(EFBIG);
    uint64_t count = 0;
    for (const iovec& piece : pieces) {
      if (content.size() < offset + count + piece.iov_len)
        content.resize(offset + count + piece.iov_len);
      std::memcpy(content.data() + offset + count, piece.iov_base, piece.iov_len);
      count += piece.iov_len;
    }
    return count;
  }

  static constexpr uint64_t kMaxFileBytes = 8 << 20;
  MemoryStore& store_;
  const wire::FileHandle handle_;
  const uint64_t inode_;
  const std::shared_ptr<Node> node_;  // content: under store_.mutex_
  const uint32_t flags_;
  UniqueFd fd_;
};

void MemoryStore::Put(const std::string& name, std::string content) {
  absl::MutexLock lock(&mutex_);
  auto [place, is_new] = names_.emplace(name, next_inode_);
  if (is_new) nodes_[next_inode_++] = std::make_shared<Node>();
  nodes_[place->second]->content = std::move(content);
}

std::string MemoryStore::Get(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  return nodes_.at(names_.at(name))->content;
}

wire::FileHandle MemoryStore::HandleOf(uint64_t inode) {
  wire::FileHandle handle;
  handle.size_bytes = 16;
  std::memcpy(handle.bytes.data(), &kExportId, sizeof kExportId);
  std::memcpy(handle.bytes.data() + 8, &inode, sizeof inode);
  return handle;
}

Result<uint64_t> MemoryStore::InodeOf(const wire::FileHandle& handle) {
  uint64_t inode;
  std::memcpy(&inode, handle.bytes.data() + 8, sizeof inode);
  if (!(HandleOf(inode) == handle)) return Errno(EBADF);
  return inode;
}

Result<std::shared_ptr<MemoryStore::Node>> MemoryStore::Find(const wire::FileHandle& handle) const {
  Result<uint64_t> inode = InodeOf(handle);
  if (!inode.ok()) return inode.error();
  absl::MutexLock lock(&mutex_);
  auto found = nodes_.find(*inode);
  if (found == nodes_.end()) return Errno(*inode == kRoot ? EISDIR : ESTALE);
  return found->second;
}

Errno MemoryStore::CheckRoot(const wire::FileHandle& handle) const {
  Result<uint64_t> inode = InodeOf(handle);
  if (!inode.ok()) return inode.error();
  return *inode == kRoot ? kOk : Errno(ENOTDIR);
}

StoreEntry MemoryStore::EntryOf(uint64_t inode) const {
  StoreEntry entry;
  entry.handle = HandleOf(inode);
  entry.attributes.ino = inode;
  entry.attributes.nlink = 1;
  entry.attributes.mode = inode == kRoot ? S_IFDIR | 0755 : S_IFREG | 0644;
  if (inode == kRoot) return entry;
  const Node& node = *nodes_.at(inode);
  entry.attributes.size = node.content.size();
  entry.attributes.ctime_s = node.ctime.tv_sec;
  entry.attributes.uid = node.uid;
  entry.attributes.ctime_ns = static_cast<uint32_t>(node.ctime.tv_nsec);
  return entry;
}

Result<StoreEntry> MemoryStore::Attach(const Identity&, std::string_view) {
  absl::MutexLock lock(&mutex_);
  return EntryOf(kRoot);
}

Result<StoreEntry> MemoryStore::Lookup(const Identity&, const wire::FileHandle& parent,
                                       std::string_view name) {
  gate.Pass();
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  absl::MutexLock lock(&mutex_);
  auto found = names_.find(std::string(name));
  if (found == names_.end()) return Errno(ENOENT);
  return EntryOf(found->second);
}

Result<wire::FileHandle> MemoryStore::Identify(const Identity&, const wire::FileHandle& parent,
                                               std::string_view name) {
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  absl::MutexLock lock(&mutex_);
  auto found = names_.find(std::string(name));
  if (found == names_.end()) return Errno(ENOENT);
  return HandleOf(found->second);
}

Result<wire::Attributes> MemoryStore::GetAttr(const Identity&, const wire::FileHandle& handle,
                                              OpenFile*) {
  Result<uint64_t> inode = InodeOf(handle);
  if (!inode.ok()) return inode.error();
  absl::MutexLock lock(&mutex_);
  if (*inode != kRoot && !nodes_.contains(*inode)) return Errno(ESTALE);
  return EntryOf(*inode).attributes;
}

Result<wire::Attributes> MemoryStore::SetAttr(const Identity& identity,
                                              const wire::FileHandle& handle, OpenFile* open,
                                              const wire::SetAttributes&) {
  return GetAttr(identity, handle, open);
}

Result<std::string> MemoryStore::ReadLink(const Identity&, const wire::FileHandle& handle) {
  Result<std::shared_ptr<Node>> node = Find(handle);
  if (!node.ok()) return node.error();
  return std::string("a target");
}

Result<StoreEntry> MemoryStore::MkNod(const Identity& identity, const wire::FileHandle& parent,
                                      std::string_view name, uint32_t, uint32_t, uint32_t) {
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  absl::MutexLock lock(&mutex_);
  auto [place, is_new] = names_.emplace(std::string(name), next_inode_);
  if (!is_new) return Errno(EEXIST);
  const auto node = std::make_shared<Node>();
  clock_gettime(CLOCK_REALTIME_COARSE, &node->ctime);
  node->uid = identity.uid;
  nodes_[next_inode_++] = node;
  return EntryOf(place->second);
}

Result<StoreEntry> MemoryStore::MkDir(const Identity&, const wire::FileHandle&, std::string_view,
                                      uint32_t) {
  return Errno(EPERM);
}

Errno MemoryStore::Unlink(const Identity&, const wire::FileHandle& parent, std::string_view name) {
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  absl::MutexLock lock(&mutex_);
  auto found = names_.find(std::string(name));
  if (found == names_.end()) return Errno(ENOENT);
  nodes_.erase(found->second);
  names_.erase(found);
  return kOk;
}

Errno MemoryStore::RmDir(const Identity&, const wire::FileHandle&, std::string_view) {
  return Errno(ENOTDIR);
}

Result<StoreEntry> MemoryStore::SymLink(const Identity& identity, const wire::FileHandle& parent,
                                        std::string_view name, std::string_view) {
  return MkNod(identity, parent, name, 0, 0, 0);
}

Errno MemoryStore::Rename(const Identity&, const wire::FileHandle& parent, std::string_view name,
                          const wire::FileHandle& new_parent, std::string_view new_name, uint32_t) {
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  if (Errno error = CheckRoot(new_parent); !error.ok()) return error;
  absl::MutexLock lock(&mutex_);
  auto found = names_.find(std::string(name));
  if (found == names_.end()) return Errno(ENOENT);
  const uint64_t inode = found->second;
  names_.erase(found);
  names_[std::string(new_name)] = inode;
  return kOk;
}

Result<StoreEntry> MemoryStore::Link(const Identity&, const wire::FileHandle&,
                                     const wire::FileHandle&, std::string_view) {
  return Errno(EPERM);
}

Errno MemoryStore::Access(const Identity&, const wire::FileHandle& handle, uint32_t) {
  return InodeOf(handle).error();
}

Result<wire::FileSystemStatistics> MemoryStore::StatFs(const Identity&,
                                                       const wire::FileHandle& handle) {
  if (Errno error = InodeOf(handle).error(); !error.ok()) return error;
  return wire::FileSystemStatistics{};
}

Errno MemoryStore::SyncFs(const wire::FileHandle& handle) { return InodeOf(handle).error(); }

Result<Store::Opened> MemoryStore::OpenInode(uint64_t inode, uint32_t flags) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<Node> node;
  if (auto found = nodes_.find(inode); found != nodes_.end()) node = found->second;
  if (node == nullptr && inode != kRoot) return Errno(ESTALE);
  if (node == nullptr) node = std::make_shared<Node>();
  if ((flags & O_TRUNC) != 0) node->content.clear();
  return Opened{std::make_shared<File>(*this, inode, node, flags), EntryOf(inode)};
}

Result<Store::Opened> MemoryStore::Open(const Identity&, const wire::FileHandle& handle,
                                        uint32_t flags, bool) {
  gate.Pass();
  Result<uint64_t> inode = InodeOf(handle);
  if (!inode.ok()) return inode.error();
  return OpenInode(*inode, flags);
}

Result<Store::Opened> MemoryStore::Create(const Identity& identity, const wire::FileHandle& parent,
                                          std::string_view name, uint32_t flags, uint32_t mode,
                                          bool) {
  Result<StoreEntry> made = MkNod(identity, parent, name, mode, 0, 0);
  if (!made.ok()) return made.error();
  return OpenInode(made->attributes.ino, flags);
}

Result<Store::Opened> MemoryStore::TmpFile(const Identity&, const wire::FileHandle& parent,
                                           uint32_t, uint32_t) {
  if (Errno error = CheckRoot(parent); !error.ok()) return error;
  return Errno(EOPNOTSUPP);
}

Result<uint64_t> MemoryStore::GetXattr(const Identity&, const wire::FileHandle& handle,
                                       std::string_view name, absl::Span<std::byte> into) {
  Result<std::shared_ptr<Node>> node = Find(handle);
  if (!node.ok()) return node.error();
  absl::MutexLock lock(&mutex_);
  auto found = (*node)->xattrs.find(std::string(name));
  if (found == (*node)->xattrs.end()) return Errno(ENODATA);
  if (into.empty()) return uint64_t{found->second.size()};
  if (into.size() < found->second.size()) return Errno(ERANGE);
  std::memcpy(into.data(), found->second.data(), found->second.size());
  return uint64_t{found->second.size()};
}

Result<uint64_t> MemoryStore::ListXattr(const Identity&, const wire::FileHandle& handle,
                                        absl::Span<std::byte>) {
  Result<std::shared_ptr<Node>> node = Find(handle);
  if (!node.ok()) return node.error();
  return uint64_t{0};
}

Errno MemoryStore::SetXattr(const Identity&, const wire::FileHandle& handle, std::string_view name,
                            std::string_view value, uint32_t, bool) {
  Result<std::shared_ptr<Node>> node = Find(handle);
  if (!node.ok()) return node.error();
  absl::MutexLock lock(&mutex_);
  (*node)->xattrs[std::string(name)] = std::string(value);
  return kOk;
}

Errno MemoryStore::RemoveXattr(const Identity&, const wire::FileHandle& handle,
                               std::string_view name) {
  Result<std::shared_ptr<Node>> node = Find(handle);
  if (!node.ok()) return node.error();
  absl::MutexLock lock(&mutex_);
  return (*node)->xattrs.erase(std::string(name)) != 0 ? kOk : Errno(ENODATA);
}

OneExport::OneExport(std::shared_ptr<Store> store) : store_(std::move(store)) {}

Result<ExportSource::Found> OneExport::Find(const Exports::Peer& peer, std::string_view path) {
  if (path != "/export" || withdrawn) return Errno(ENOENT);
  if (peer.key.empty() ? !security.sys : !security.psk) return Errno(EACCES);
  auto attachment = std::make_shared<Attachment>();
  attachment->path = std::string(path);
  attachment->export_id = MemoryStore::kExportId;
  attachment->store = store_;
  attachment->read_only = read_only;
  attachment->squash = squash;
  return Found{std::move(attachment), ""};
}

}  // namespace rdmafs::server
