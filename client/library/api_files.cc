// Open files and their data: the part of <rdmafs/rdmafs.h> that takes handles.
#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "client/library/api.h"

namespace rdmafs::library {
namespace {

constexpr int kMaxPieces = 1024;
// The kernel's own, which the server has no use for.
constexpr int kNotForTheServer = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

struct OpenRequest {
  Export& owner;
  size_t shard;
  int flags;
  mode_t mode;
  rdmafs_file** file;
};

void Opened(const OpenRequest& request, OpenId id, const FileHandle& handle, Errno error,
            Finish finish) {
  if (error.ok()) {
    ++request.owner.file_count;
    *request.file = new rdmafs_file{
        {request.owner, request.shard, id, handle, request.flags & O_ACCMODE}};
  }
  finish(error);
}

void OpenObject(FileSystem& file_system, const OpenRequest& request, const FileHandle& handle,
                Finish finish) {
  const OpenId id = file_system.NewOpenId();
  auto opened = [request, id, handle = std::make_unique<FileHandle>(handle),
                 finish](Result<Attributes> result) {
    Opened(request, id, *handle, result.error(), finish);
  };
  const int flags = request.flags & ~(O_CREAT | O_EXCL);
  file_system.Open(request.owner.caller(), handle, id, static_cast<uint32_t>(flags), 0,
                   std::move(opened));
}

void OpenFound(FileSystem& file_system, const OpenRequest& request, Found found, Finish finish) {
  const bool is_new = !found.name.empty();
  if (!is_new) {
    const uint32_t mode = found.entry.attributes.mode;
    if ((request.flags & O_CREAT) != 0 && (request.flags & O_EXCL) != 0)
      return finish(Errno(EEXIST));
    if (S_ISLNK(mode)) return finish(Errno(ELOOP));
    if (S_ISDIR(mode)) return finish(Errno(EISDIR));
    if (!S_ISREG(mode)) return finish(Errno(EOPNOTSUPP));
    return OpenObject(file_system, request, found.entry.handle, finish);
  }
  const OpenId id = file_system.NewOpenId();
  file_system.Create(request.owner.caller(), found.parent, found.name, id,
                     static_cast<uint32_t>(request.flags), S_IFREG | (request.mode & 07777), 0,
                     [request, id, finish](Result<Entry> entry) {
                       Opened(request, id, entry.ok() ? entry->handle : FileHandle{},
                              entry.error(), finish);
                     });
}

int64_t StartTransfer(rdmafs_file* file, Direction direction, std::vector<iovec> pieces,
                      uint64_t offset, rdmafs_call* call) {
  if (!file->open.owner.OfThisProcess()) return -ECHILD;
  Transfer::Request request{file->open, direction, std::move(pieces), offset, {}};
  if (Errno error = Transfer::Check(request); !error.ok()) return -error.value();
  return RunOn(file->open, call,
               [request = std::move(request)](FileSystem& file_system, Finish finish) mutable {
                 Transfer::Start(file_system, std::move(request), finish);
               });
}

int64_t StartVector(rdmafs_file* file, Direction direction, const iovec* pieces, int count,
                    uint64_t offset, rdmafs_call* call) {
  if (count < 0 || count > kMaxPieces || (count > 0 && pieces == nullptr)) return -EINVAL;
  return StartTransfer(file, direction, {pieces, pieces + count}, offset, call);
}

// Ends an operation of an open file that has no other result.
Reply<Unit> FileReply(OpenFile& file, Finish finish) {
  return [&file, finish](Result<Unit> result) {
    --file.operation_count;
    finish(result.error());
  };
}

// --- Pool reads ---

struct PoolRead {
  OpenFile& file;
  PoolBuffers::Id id;
  size_t length;
  uint64_t offset;
  rdmafs_buffer* buffer;
};

// The data are where they landed: in `block`, in what was read ahead, or in the answer itself.
void Deliver(const PoolRead& read, Buffer block, Result<Payload> result, Finish finish) {
  Export& owner = read.file.owner;
  --read.file.operation_count;
  if (!result.ok() || result->bytes.size() > read.length) {
    owner.buffers().Fail(read.id);
    return finish(result.ok() ? Errno(EIO) : result.error());
  }
  const size_t size = result->bytes.size();
  Buffer hold = result->hold;
  auto* data = const_cast<std::byte*>(result->bytes.data());
  if (!hold && data != block.data()) {
    std::memcpy(block.data(), data, size);
    owner.traffic().copied.fetch_add(size, std::memory_order_relaxed);
    owner.traffic().inlined.fetch_add(size, std::memory_order_relaxed);
    data = block.data();
  } else {
    owner.traffic().direct.fetch_add(size, std::memory_order_relaxed);
  }
  if (!hold) hold = std::move(block);
  owner.buffers().Deliver(read.id, {data, size}, std::move(hold));
  *read.buffer = {data, size, read.id};
  finish(static_cast<int64_t>(size));
}

void StartPoolRead(FileSystem& file_system, const PoolRead& read, Finish finish) {
  Buffer block = read.file.owner.pool(read.file.shard).Take();
  if (!block) {
    --read.file.operation_count;
    read.file.owner.buffers().Fail(read.id);
    return finish(Errno(EAGAIN));
  }
  PayloadMemory destination{block.payload().first(read.length), block, {}};
  if (read.length <= wire::kMaxInlineBytes) destination = {};
  file_system.Read({read.file.id, read.offset, static_cast<uint32_t>(read.length),
                    std::move(destination)},
                   [read, block = std::move(block), finish](Result<Payload> result) mutable {
                     Deliver(read, std::move(block), std::move(result), finish);
                   });
}

}  // namespace
}  // namespace rdmafs::library

using namespace rdmafs;           // NOLINT: the C functions stand outside
using namespace rdmafs::library;  // NOLINT

// --- Opening ---

int rdmafs_open(rdmafs_fs* fs, const char* path, int flags, mode_t mode, rdmafs_file** file,
                rdmafs_call* call) {
  Export& owner = *fs->export_;
  if (path == nullptr) return -EINVAL;
  if (!owner.OfThisProcess()) return -ECHILD;
  const OpenRequest request{owner, owner.NextShard(), flags & ~kNotForTheServer, mode, file};
  const bool follows = (flags & O_NOFOLLOW) == 0;
  WalkEnd end = follows ? WalkEnd::kObject : WalkEnd::kObjectNoLink;
  if ((flags & O_CREAT) != 0) end = WalkEnd::kMake;
  // A name that must be new is no way to somewhere else.
  if ((flags & O_CREAT) != 0 && ((flags & O_EXCL) != 0 || !follows)) end = WalkEnd::kParent;
  auto open = [request](FileSystem& file_system, Found found, Finish finish) {
    OpenFound(file_system, request, std::move(found), finish);
  };
  auto walk = [request, path = std::string(path), end, open](FileSystem& file_system,
                                                             Finish finish) {
    PathWalk::Start(file_system, request.owner.caller(), request.owner.root(), path, end,
                    [open, &file_system, finish](Result<Found> found) {
                      if (!found.ok()) return finish(found.error());
                      open(file_system, *std::move(found), finish);
                    });
  };
  return static_cast<int>(owner.Run(request.shard, call, std::move(walk)));
}

int rdmafs_create(rdmafs_fs* fs, const char* path, int flags, mode_t mode, rdmafs_file** file,
                  rdmafs_call* call) {
  return rdmafs_open(fs, path, flags | O_CREAT | O_EXCL, mode, file, call);
}

int rdmafs_open_node(rdmafs_node* node, int flags, rdmafs_file** file, rdmafs_call* call) {
  Export& owner = node->owner;
  if (!owner.OfThisProcess()) return -ECHILD;
  const OpenRequest request{owner, owner.NextShard(),
                            flags & ~(kNotForTheServer | O_CREAT | O_EXCL), 0, file};
  auto open = [request, entry = node->entry](FileSystem& file_system, Finish finish) {
    OpenFound(file_system, request, Found{entry, {}, {}}, finish);
  };
  return static_cast<int>(owner.Run(request.shard, call, std::move(open)));
}

int rdmafs_close(rdmafs_file* file) {
  if (!file->open.owner.OfThisProcess()) return -ECHILD;
  if (file->open.operation_count != 0) return -EBUSY;
  const int64_t error = Release(file->open);
  --file->open.owner.file_count;
  delete file;
  return static_cast<int>(error);
}

// --- Open files ---

int rdmafs_fstat(rdmafs_file* file, struct stat* stat, rdmafs_call* call) {
  OpenFile& open = file->open;
  return static_cast<int>(RunOn(open, call, [&open, stat](FileSystem& file_system, Finish finish) {
    auto reply = [&open, stat, finish](Result<Attributes> result) {
      if (result.ok()) ToStat(*result, *stat);
      --open.operation_count;
      finish(result.error());
    };
    file_system.GetAttr(open.owner.caller(), open.handle, open.id, std::move(reply));
  }));
}

int rdmafs_ftruncate(rdmafs_file* file, uint64_t size, rdmafs_call* call) {
  OpenFile& open = file->open;
  return static_cast<int>(RunOn(open, call, [&open, size](FileSystem& file_system, Finish finish) {
    SetAttributes changes{};
    changes.valid = wire::kSetSize;
    changes.size = size;
    file_system.SetAttr(open.owner.caller(), open.handle, open.id, changes,
                        [&open, finish](Result<Attributes> result) {
                          --open.operation_count;
                          finish(result.error());
                        });
  }));
}

int rdmafs_fsync(rdmafs_file* file, int data_only, rdmafs_call* call) {
  OpenFile& open = file->open;
  return static_cast<int>(
      RunOn(open, call, [&open, data_only](FileSystem& file_system, Finish finish) {
        file_system.Fsync(open.id, data_only != 0, FileReply(open, finish));
      }));
}

int rdmafs_fallocate(rdmafs_file* file, int mode, uint64_t offset, uint64_t length,
                     rdmafs_call* call) {
  OpenFile& open = file->open;
  return static_cast<int>(
      RunOn(open, call, [&open, mode, offset, length](FileSystem& file_system, Finish finish) {
        file_system.Fallocate(open.owner.caller(), open.id, offset, length,
                              static_cast<uint32_t>(mode), FileReply(open, finish));
      }));
}

int64_t rdmafs_seek(rdmafs_file* file, uint64_t offset, int whence, rdmafs_call* call) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return -EINVAL;
  OpenFile& open = file->open;
  return RunOn(open, call, [&open, offset, whence](FileSystem& file_system, Finish finish) {
    file_system.Seek(open.id, offset, static_cast<uint32_t>(whence),
                     [&open, finish](Result<uint64_t> result) {
                       --open.operation_count;
                       if (!result.ok()) return finish(result.error());
                       finish(static_cast<int64_t>(*result));
                     });
  });
}

// --- Data ---

int64_t rdmafs_readto(rdmafs_file* file, void* data, size_t length, uint64_t offset,
                      rdmafs_call* call) {
  return StartTransfer(file, Direction::kReadTo, {{data, length}}, offset, call);
}

int64_t rdmafs_readtov(rdmafs_file* file, const struct iovec* pieces, int count, uint64_t offset,
                       rdmafs_call* call) {
  return StartVector(file, Direction::kReadTo, pieces, count, offset, call);
}

int64_t rdmafs_writefrom(rdmafs_file* file, const void* data, size_t length, uint64_t offset,
                         rdmafs_call* call) {
  return StartTransfer(file, Direction::kWriteFrom, {{const_cast<void*>(data), length}}, offset,
                       call);
}

int64_t rdmafs_writefromv(rdmafs_file* file, const struct iovec* pieces, int count,
                          uint64_t offset, rdmafs_call* call) {
  return StartVector(file, Direction::kWriteFrom, pieces, count, offset, call);
}

int64_t rdmafs_read_pool(rdmafs_file* file, size_t length, uint64_t offset, rdmafs_buffer* buffer,
                         rdmafs_call* call) {
  if (length > wire::kMaxPayloadBytes || buffer == nullptr) return -EINVAL;
  OpenFile& open = file->open;
  if (!open.owner.OfThisProcess()) return -ECHILD;
  if (Errno error = open.Allows(Direction::kReadTo); !error.ok()) return -error.value();
  const PoolRead read{open, open.owner.buffers().Begin(), length, offset, buffer};
  return RunOn(open, call, [read](FileSystem& file_system, Finish finish) {
    StartPoolRead(file_system, read, finish);
  });
}

int64_t rdmafs_write_pool(rdmafs_file* file, const rdmafs_buffer* buffer, size_t from,
                          size_t length, uint64_t offset, rdmafs_call* call) {
  OpenFile& open = file->open;
  if (!open.owner.OfThisProcess()) return -ECHILD;
  if (Errno error = open.Allows(Direction::kWriteFrom); !error.ok()) return -error.value();
  auto bytes = open.owner.buffers().Use(buffer->id, from, length);
  if (!bytes.ok()) return -bytes.error().value();
  WriteRequest request{open.id, offset, {bytes->bytes, std::move(bytes->hold), {}}, 0,
                       open.owner.caller().uid, open.owner.caller().gid};
  return RunOn(open, call,
               [&open, id = buffer->id, request = std::move(request)](FileSystem& file_system,
                                                                      Finish finish) mutable {
                 file_system.Write(std::move(request), [&open, id, finish](Result<uint64_t> count) {
                   Export& owner = open.owner;
                   owner.buffers().Unuse(id);
                   --open.operation_count;
                   if (!count.ok()) return finish(count.error());
                   owner.traffic().direct.fetch_add(*count, std::memory_order_relaxed);
                   finish(static_cast<int64_t>(*count));
                 });
               });
}
