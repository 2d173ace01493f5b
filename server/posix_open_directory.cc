#include "server/posix_open_directory.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "server/posix_calls.h"
#include "server/thread_credentials.h"

namespace rdmafs {
namespace {

// Of getdents64(2), on the stack.
constexpr size_t kChunkBytes = 32 << 10;

constexpr size_t Padded(size_t size) { return (size + 7) & ~size_t{7}; }

}  // namespace

struct PosixOpenDirectory::KernelEntry {
  uint64_t ino;
  int64_t off;
  uint16_t size;
  uint8_t type;
};

Errno PosixOpenDirectory::Fsync(bool data_only) {
  return ToErrno(data_only ? fdatasync(fd_.get()) : fsync(fd_.get()));
}

Result<uint64_t> PosixOpenDirectory::ReadDir(const Identity& identity, uint64_t cookie, bool plus,
                                             absl::Span<std::byte> into) {
  if (Errno error = ThreadCredentials::OfThisThread().Assume(identity); !error.ok()) return error;
  alignas(8) char chunk[kChunkBytes];
  uint64_t used = 0;
  absl::MutexLock lock(&mutex_);
  if (cookie != position_ || cookie == 0) {
    // Also at the beginning: rewinding shows what came since.
    if (lseek(fd_.get(), static_cast<off_t>(cookie), SEEK_SET) < 0) return LastErrno();
    position_ = cookie;
  }
  while (true) {
    // Not much more than there is room for: what does not fit is read again.
    const size_t wanted = std::clamp<size_t>(into.size() - used, 512, kChunkBytes);
    const long size = syscall(SYS_getdents64, fd_.get(), chunk, wanted);
    if (size < 0 && used == 0) return LastErrno();
    if (size == 0 && used != 0) AppendEnd(into, used);
    if (size <= 0) return used;
    for (long at = 0; at < size;) {
      KernelEntry entry;
      std::memcpy(&entry, chunk + at, offsetof(KernelEntry, type) + sizeof entry.type);
      const char* name = chunk + at + offsetof(KernelEntry, type) + sizeof entry.type;
      if (!Append(entry, std::string_view(name), plus, into, used)) {
        // The descriptor is ahead of what the client has; ~0 is no cookie, so the next call seeks.
        position_ = ~uint64_t{0};
        return used == 0 ? Result<uint64_t>(Errno(EINVAL)) : used;
      }
      position_ = static_cast<uint64_t>(entry.off);
      at += entry.size;
    }
  }
}

void PosixOpenDirectory::AppendEnd(absl::Span<std::byte> into, uint64_t& used) {
  wire::DirentHeader end{};
  if (sizeof end > into.size() - used) return;
  end.next_cookie = position_;
  end.flags = wire::kDirentEnd;
  end.record_size = sizeof end;
  std::memcpy(into.data() + used, &end, sizeof end);
  used += sizeof end;
}

bool PosixOpenDirectory::Append(const KernelEntry& entry, std::string_view name, bool plus,
                                absl::Span<std::byte> into, uint64_t& used) {
  const size_t fixed = sizeof(wire::DirentHeader);
  if (Padded(fixed + name.size()) > into.size() - used) return false;
  wire::DirentHeader header{};
  header.ino = entry.ino ^ InodeSalt(id_.device, objects_.root_device());
  header.next_cookie = static_cast<uint64_t>(entry.off);
  header.type = entry.type;
  header.name_size = static_cast<uint16_t>(name.size());
  const bool dots = name == "." || name == "..";
  // The directory above the export is nobody's business.
  if (name == ".." && objects_.IsRoot(id_.device, id_.inode)) header.ino = id_.inode;

  StoreEntry found;
  // A table would be flooded by a walk through a large directory.
  if (plus && !dots && !objects_.table()) {
    UniqueFd object(openat(fd_.get(), std::string(name).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    auto described =
        object.valid() ? objects_.Describe(object.get()) : Result<StoreEntry>(LastErrno());
    if (described.ok()) {
      found = *described;
      header.ino = found.attributes.ino;
      header.flags = wire::kDirentAttributes;
      header.handle_size = found.handle.size_bytes;
    }
  }
  const bool attributes = header.flags != 0;
  const size_t record =
      Padded(fixed + (attributes ? sizeof found.attributes + header.handle_size : 0) + name.size());
  if (record > into.size() - used) return false;
  header.record_size = static_cast<uint16_t>(record);

  std::byte* out = into.data() + used;
  const auto put = [&out](const void* data, size_t size) {
    std::memcpy(out, data, size);
    out += size;
  };
  put(&header, fixed);
  if (attributes) {
    put(&found.attributes, sizeof found.attributes);
    put(found.handle.bytes.data(), header.handle_size);
  }
  put(name.data(), name.size());
  std::memset(out, 0, static_cast<size_t>(into.data() + used + record - out));
  used += record;
  return true;
}

}  // namespace rdmafs
