// Open directories: the part of <rdmafs/rdmafs.h> that reads names.
#include <fcntl.h>

#include <cstring>

#include "client/library/api.h"

struct rdmafs_dir {
  rdmafs::library::OpenFile open;
  rdmafs::Buffer block;
  absl::Span<const std::byte> records;  // that have not been read yet
  uint64_t cookie = 0;
};

using namespace rdmafs;           // NOLINT: the C functions stand outside
using namespace rdmafs::library;  // NOLINT

int rdmafs_opendir(rdmafs_fs* fs, const char* path, rdmafs_dir** dir) {
  Export& owner = *fs->export_;
  if (path == nullptr) return -EINVAL;
  if (!owner.OfThisProcess()) return -ECHILD;
  const size_t shard = owner.NextShard();
  auto open = [&owner, shard, path = std::string(path), dir](FileSystem& file_system,
                                                             Finish finish) {
    auto found = [&owner, &file_system, shard, dir, finish](Result<Found> object) {
      if (!object.ok()) return finish(object.error());
      if (!S_ISDIR(object->entry.attributes.mode)) return finish(Errno(ENOTDIR));
      const OpenId id = file_system.NewOpenId();
      auto handle = std::make_unique<FileHandle>(object->entry.handle);
      const FileHandle& name = *handle;
      file_system.Open(owner.caller(), name, id, O_RDONLY | O_DIRECTORY, 0,
                       [&owner, shard, dir, id, handle = std::move(handle),
                        finish](Result<Attributes> result) {
                         if (!result.ok()) return finish(result.error());
                         ++owner.file_count;
                         *dir = new rdmafs_dir{{owner, shard, id, *handle}, {}, {}};
                         finish(0);
                       });
    };
    PathWalk::Start(file_system, owner.caller(), owner.root(), path, WalkEnd::kObject,
                    std::move(found));
  };
  return static_cast<int>(owner.Run(shard, nullptr, std::move(open)));
}

int rdmafs_readdir(rdmafs_dir* dir, rdmafs_dirent* entry) {
  OpenFile& open = dir->open;
  if (!open.owner.OfThisProcess()) return -ECHILD;
  if (dir->records.empty()) {
    if (!dir->block) dir->block = open.owner.pool(open.shard).Take();
    if (!dir->block) return -EAGAIN;
    auto read = [dir, &open](FileSystem& file_system, Finish finish) {
      file_system.ReadDir(open.owner.caller(),
                          {open.id, dir->cookie, 0, {dir->block.payload(), dir->block, {}}},
                          [dir, finish](Result<Payload> result) {
                            if (!result.ok()) return finish(result.error());
                            // A short answer came with the message, which does not stay.
                            if (result->bytes.data() != dir->block.data())
                              std::memcpy(dir->block.data(), result->bytes.data(),
                                          result->bytes.size());
                            dir->records = dir->block.payload().first(result->bytes.size());
                            finish(0);
                          });
    };
    const int64_t error = open.owner.Run(open.shard, nullptr, std::move(read));
    if (error != 0) return static_cast<int>(error);
    if (dir->records.empty()) return 0;
  }
  wire::DirentHeader header;
  if (dir->records.size() < sizeof header) return -EIO;
  std::memcpy(&header, dir->records.data(), sizeof header);
  if ((header.flags & wire::kDirentEnd) != 0) {
    dir->records = {};
    return 0;
  }
  size_t at = sizeof header;
  if ((header.flags & wire::kDirentAttributes) != 0) at += sizeof(Attributes);
  at += header.handle_size;
  if (header.record_size > dir->records.size() || at + header.name_size > header.record_size ||
      header.name_size >= sizeof entry->name) {
    return -EIO;
  }
  entry->ino = header.ino;
  entry->type = header.type;
  std::memcpy(entry->name, dir->records.data() + at, header.name_size);
  entry->name[header.name_size] = 0;
  dir->cookie = header.next_cookie;
  dir->records.remove_prefix(header.record_size);
  return 1;
}

int rdmafs_closedir(rdmafs_dir* dir) {
  if (!dir->open.owner.OfThisProcess()) return -ECHILD;
  const int64_t error = Release(dir->open);
  --dir->open.owner.file_count;
  delete dir;
  return static_cast<int>(error);
}
