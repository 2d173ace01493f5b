// Names and attributes: the part of <rdmafs/rdmafs.h> that takes paths, but opening.
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "client/library/api.h"

namespace rdmafs::library {

void ToStat(const Attributes& attributes, struct stat& out) {
  out = {};
  out.st_ino = attributes.ino;
  out.st_mode = attributes.mode;
  out.st_nlink = attributes.nlink;
  out.st_uid = attributes.uid;
  out.st_gid = attributes.gid;
  out.st_rdev = makedev(attributes.rdev_major, attributes.rdev_minor);
  out.st_size = static_cast<off_t>(attributes.size);
  out.st_blksize = attributes.blksize;
  out.st_blocks = static_cast<blkcnt_t>(attributes.blocks);
  out.st_atim = {attributes.atime_s, static_cast<long>(attributes.atime_ns)};
  out.st_mtim = {attributes.mtime_s, static_cast<long>(attributes.mtime_ns)};
  out.st_ctim = {attributes.ctime_s, static_cast<long>(attributes.ctime_ns)};
}

namespace {

Reply<Attributes> StatReply(Finish finish, struct stat* out) {
  return [finish, out](Result<Attributes> result) {
    if (result.ok()) ToStat(*result, *out);
    finish(result.error());
  };
}

template <typename T>
Reply<T> ErrorReply(Finish finish) {
  return [finish](Result<T> result) { finish(result.error()); };
}

WalkEnd ObjectEnd(int flags) {
  return (flags & RDMAFS_NOFOLLOW) != 0 ? WalkEnd::kObjectNoLink : WalkEnd::kObject;
}

// Changes attributes of what a path names.
int SetAttributesAt(rdmafs_fs* fs, const char* path, int flags, const SetAttributes& changes,
                    rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto change = [&owner, changes](FileSystem& file_system, Found found, Finish finish) {
    file_system.SetAttr(owner.caller(), found.entry.handle, 0, changes,
                        ErrorReply<Attributes>(finish));
  };
  return static_cast<int>(RunAt(owner, path, ObjectEnd(flags), call, std::move(change)));
}

}  // namespace
}  // namespace rdmafs::library

using namespace rdmafs;           // NOLINT: the C functions stand outside
using namespace rdmafs::library;  // NOLINT

int rdmafs_resolve(rdmafs_fs* fs, const char* path, int flags, rdmafs_node** node,
                   rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto make = [&owner, node](FileSystem&, Found found, Finish finish) {
    *node = new rdmafs_node{owner, std::move(found.entry)};
    ++owner.node_count;
    finish(0);
  };
  return static_cast<int>(RunAt(owner, path, ObjectEnd(flags), call, std::move(make)));
}

void rdmafs_node_free(rdmafs_node* node) {
  if (node == nullptr || !node->owner.OfThisProcess()) return;
  --node->owner.node_count;
  delete node;
}

int rdmafs_node_stat(rdmafs_node* node, struct stat* stat, rdmafs_call* call) {
  Export& owner = node->owner;
  auto ask = [&owner, handle = node->entry.handle, stat](FileSystem& file_system, Finish finish) {
    file_system.GetAttr(owner.caller(), handle, 0, StatReply(finish, stat));
  };
  return static_cast<int>(owner.Run(owner.NextShard(), call, std::move(ask)));
}

int rdmafs_stat(rdmafs_fs* fs, const char* path, int flags, struct stat* stat, rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto ask = [&owner, stat](FileSystem& file_system, Found found, Finish finish) {
    file_system.GetAttr(owner.caller(), found.entry.handle, 0, StatReply(finish, stat));
  };
  return static_cast<int>(RunAt(owner, path, ObjectEnd(flags), call, std::move(ask)));
}

int rdmafs_statvfs(rdmafs_fs* fs, struct statvfs* stat, rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto ask = [&owner, stat](FileSystem& file_system, Finish finish) {
    file_system.StatFs(owner.caller(), owner.root().handle,
                       [finish, stat](Result<FileSystemStatistics> result) {
                         if (!result.ok()) return finish(result.error());
                         *stat = {};
                         stat->f_bsize = result->block_size;
                         stat->f_frsize = result->fragment_size;
                         stat->f_blocks = result->blocks;
                         stat->f_bfree = result->blocks_free;
                         stat->f_bavail = result->blocks_available;
                         stat->f_files = result->files;
                         stat->f_ffree = stat->f_favail = result->files_free;
                         stat->f_namemax = result->name_max;
                         finish(0);
                       });
  };
  return static_cast<int>(owner.Run(owner.NextShard(), call, std::move(ask)));
}

int rdmafs_mkdir(rdmafs_fs* fs, const char* path, mode_t mode, rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto make = [&owner, mode](FileSystem& file_system, Found found, Finish finish) {
    file_system.MkDir(owner.caller(), found.parent, found.name, mode, ErrorReply<Entry>(finish));
  };
  return static_cast<int>(RunAt(owner, path, WalkEnd::kParent, call, std::move(make)));
}

int rdmafs_rmdir(rdmafs_fs* fs, const char* path, rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto remove = [&owner](FileSystem& file_system, Found found, Finish finish) {
    file_system.RmDir(owner.caller(), found.parent, found.name, ErrorReply<Attributes>(finish));
  };
  return static_cast<int>(RunAt(owner, path, WalkEnd::kParent, call, std::move(remove)));
}

int rdmafs_unlink(rdmafs_fs* fs, const char* path, rdmafs_call* call) {
  Export& owner = *fs->export_;
  auto remove = [&owner](FileSystem& file_system, Found found, Finish finish) {
    file_system.Unlink(owner.caller(), found.parent, found.name, ErrorReply<Attributes>(finish));
  };
  return static_cast<int>(RunAt(owner, path, WalkEnd::kParent, call, std::move(remove)));
}

int rdmafs_rename(rdmafs_fs* fs, const char* from, const char* to, unsigned flags,
                  rdmafs_call* call) {
  if (to == nullptr) return -EINVAL;
  Export& owner = *fs->export_;
  auto rename = [&owner, to = std::string(to), flags](FileSystem& file_system, Found old,
                                                      Finish finish) {
    auto move = [&owner, &file_system, old = std::move(old), flags,
                 finish](Result<Found> found) {
      if (!found.ok()) return finish(found.error());
      file_system.Rename(owner.caller(), old.parent, old.name, found->parent, found->name, flags,
                         ErrorReply<Attributes>(finish));
    };
    PathWalk::Start(file_system, owner.caller(), owner.root(), to, WalkEnd::kParent,
                    std::move(move));
  };
  return static_cast<int>(RunAt(owner, from, WalkEnd::kParent, call, std::move(rename)));
}

int rdmafs_link(rdmafs_fs* fs, const char* from, const char* to, rdmafs_call* call) {
  if (to == nullptr) return -EINVAL;
  Export& owner = *fs->export_;
  auto link = [&owner, to = std::string(to)](FileSystem& file_system, Found object,
                                             Finish finish) {
    auto make = [&owner, &file_system, object = std::move(object), finish](Result<Found> found) {
      if (!found.ok()) return finish(found.error());
      file_system.Link(owner.caller(), object.entry.handle, found->parent, found->name,
                       ErrorReply<Entry>(finish));
    };
    PathWalk::Start(file_system, owner.caller(), owner.root(), to, WalkEnd::kParent,
                    std::move(make));
  };
  return static_cast<int>(RunAt(owner, from, WalkEnd::kObjectNoLink, call, std::move(link)));
}

int rdmafs_symlink(rdmafs_fs* fs, const char* target, const char* path, rdmafs_call* call) {
  if (target == nullptr) return -EINVAL;
  Export& owner = *fs->export_;
  auto make = [&owner, target = std::string(target)](FileSystem& file_system, Found found,
                                                     Finish finish) {
    file_system.SymLink(owner.caller(), found.parent, found.name, target,
                        ErrorReply<Entry>(finish));
  };
  return static_cast<int>(RunAt(owner, path, WalkEnd::kParent, call, std::move(make)));
}

int64_t rdmafs_readlink(rdmafs_fs* fs, const char* path, char* target, size_t size) {
  Export& owner = *fs->export_;
  auto read = [&owner, target, size](FileSystem& file_system, Found found, Finish finish) {
    auto copy = [target, size, finish](Result<Payload> text) {
      if (!text.ok()) return finish(text.error());
      const size_t count = std::min(size, text->bytes.size());
      std::memcpy(target, text->bytes.data(), count);
      finish(static_cast<int64_t>(count));
    };
    if (!S_ISLNK(found.entry.attributes.mode)) return finish(Errno(EINVAL));
    file_system.ReadLink(owner.caller(), found.entry.handle, std::move(copy));
  };
  return RunAt(owner, path, WalkEnd::kObjectNoLink, nullptr, std::move(read));
}

int rdmafs_chmod(rdmafs_fs* fs, const char* path, mode_t mode, rdmafs_call* call) {
  SetAttributes changes{};
  changes.valid = wire::kSetMode;
  changes.mode = mode & 07777;
  return SetAttributesAt(fs, path, 0, changes, call);
}

int rdmafs_chown(rdmafs_fs* fs, const char* path, uid_t uid, gid_t gid, int flags,
                 rdmafs_call* call) {
  SetAttributes changes{};
  if (uid != static_cast<uid_t>(-1)) changes.valid |= wire::kSetUid;
  if (gid != static_cast<gid_t>(-1)) changes.valid |= wire::kSetGid;
  changes.uid = uid;
  changes.gid = gid;
  return SetAttributesAt(fs, path, flags, changes, call);
}

int rdmafs_truncate(rdmafs_fs* fs, const char* path, uint64_t size, rdmafs_call* call) {
  SetAttributes changes{};
  changes.valid = wire::kSetSize;
  changes.size = size;
  return SetAttributesAt(fs, path, 0, changes, call);
}
