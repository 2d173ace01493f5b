#include "server/posix_open_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <vector>

#include "server/posix_calls.h"
#include "server/thread_credentials.h"

namespace rdmafs {
namespace {

using SetIdBits = ThreadCredentials::SetIdBits;

// One call copies this much at most, so that no worker is gone for long; callers loop on short
// counts.
constexpr uint64_t kMaxCopyBytes = 128 << 20;
constexpr size_t kCopyChunkBytes = 256 << 10;
constexpr size_t kMaxPieces = 4;

bool BadRange(uint64_t offset, uint64_t length) {
  return offset > static_cast<uint64_t>(INT64_MAX) ||
         length > static_cast<uint64_t>(INT64_MAX) - offset;
}

// Leaves out the first `done` bytes.
size_t Advance(absl::Span<const iovec> pieces, uint64_t done, std::array<iovec, kMaxPieces>& rest) {
  size_t count = 0;
  for (const iovec& piece : pieces) {
    const size_t skip = std::min<uint64_t>(done, piece.iov_len);
    done -= skip;
    if (skip < piece.iov_len)
      rest[count++] = {static_cast<std::byte*>(piece.iov_base) + skip, piece.iov_len - skip};
  }
  return count;
}

// All of it, or less when an error came after the first bytes.
Result<uint64_t> WriteAll(int fd, absl::Span<const iovec> pieces, uint64_t offset) {
  uint64_t done = 0;
  std::array<iovec, kMaxPieces> rest;
  for (size_t count; (count = Advance(pieces, done, rest)) > 0;) {
    const ssize_t size =
        pwritev(fd, rest.data(), static_cast<int>(count), static_cast<off_t>(offset + done));
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && done == 0) return LastErrno();
    if (size <= 0) break;
    done += static_cast<uint64_t>(size);
  }
  return done;
}

Result<uint64_t> CopyThroughMemory(int in, uint64_t offset, int out, uint64_t out_offset,
                                   uint64_t length) {
  std::vector<std::byte> chunk(std::min<uint64_t>(length, kCopyChunkBytes));
  uint64_t done = 0;
  while (done < length) {
    const ssize_t size = pread(in, chunk.data(), std::min<uint64_t>(chunk.size(), length - done),
                               static_cast<off_t>(offset + done));
    if (size < 0 && done == 0) return LastErrno();
    if (size <= 0) break;
    const iovec piece{chunk.data(), static_cast<size_t>(size)};
    auto written = WriteAll(out, {&piece, 1}, out_offset + done);
    if (!written.ok() && done == 0) return written.error();
    if (!written.ok()) break;
    done += *written;
    if (*written < static_cast<uint64_t>(size)) break;
  }
  return done;
}

bool NeedsCopyThroughMemory(int error) {
  return error == EXDEV || error == EOPNOTSUPP || error == ENOSYS;
}

}  // namespace

PosixOpenFile::PosixOpenFile(UniqueFd fd, uint32_t flags, const wire::FileHandle& handle, FileId id)
    : fd_(std::move(fd)),
      flags_(flags),
      handle_(handle),
      id_(id),
      memory_(IsMemoryFileSystem(fd_.get())) {}

Result<uint64_t> PosixOpenFile::Read(absl::Span<std::byte> into, uint64_t offset) {
  if (BadRange(offset, into.size())) return Errno(EINVAL);
  uint64_t done = 0;
  while (done < into.size()) {
    const ssize_t size =
        pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (size < 0 && errno == EINTR) continue;
    // Bytes that were read are not lost to an error behind them: the next read meets it.
    if (size < 0 && done == 0) return LastErrno();
    if (size <= 0) break;
    done += static_cast<uint64_t>(size);
  }
  return done;
}

Result<uint64_t> PosixOpenFile::ReadNoWait(absl::Span<std::byte> into, uint64_t offset) {
  if (memory_) return Read(into, offset);
  if (!may_read_no_wait_.load(std::memory_order_relaxed)) return Errno(EAGAIN);
  if (BadRange(offset, into.size())) return Errno(EINVAL);
  uint64_t done = 0;
  while (done < into.size()) {
    const iovec piece{into.data() + done, into.size() - done};
    const ssize_t size =
        preadv2(fd_.get(), &piece, 1, static_cast<off_t>(offset + done), RWF_NOWAIT);
    if (size == 0) break;
    if (size < 0 && errno == EOPNOTSUPP) may_read_no_wait_.store(false, std::memory_order_relaxed);
    // Part of it in the page cache is as good as nothing: one call must bring all.
    if (size < 0) return Errno(errno == EBADF || errno == EISDIR ? errno : EAGAIN);
    done += static_cast<uint64_t>(size);
  }
  return done;
}

bool PosixOpenFile::InMemory(uint64_t offset, uint64_t size) {
  if (size == 0 || BadRange(offset, size) || (flags_ & O_ACCMODE) == O_WRONLY) return false;
  if (!memory_ && !IsCached(fd_.get(), offset, size)) return false;
  // The last byte says that the file has them all; and, since pages that are being read count as
  // cached, and are read in their order, that none of them is.
  std::byte last;
  const Result<uint64_t> count = ReadNoWait({&last, 1}, offset + size - 1);
  return count.ok() && *count == 1;
}

Result<uint64_t> PosixOpenFile::WriteNoWait(absl::Span<const iovec> pieces, uint64_t offset) {
  DCHECK(pieces.size() <= kMaxPieces);
  if (offset > static_cast<uint64_t>(INT64_MAX)) return Errno(EINVAL);
  if ((flags_ & (O_SYNC | O_DSYNC)) != 0) return Errno(EAGAIN);
  if (!memory_ && !may_write_no_wait_.load(std::memory_order_relaxed)) return Errno(EAGAIN);
  const ssize_t size = pwritev2(fd_.get(), pieces.data(), static_cast<int>(pieces.size()),
                                static_cast<off_t>(offset), memory_ ? 0 : RWF_NOWAIT);
  if (size >= 0) return static_cast<uint64_t>(size);
  if (errno == EOPNOTSUPP) may_write_no_wait_.store(false, std::memory_order_relaxed);
  // Whether space and quota are out for this caller is told by Write(), which acts as the caller.
  const bool undecided =
      errno == EOPNOTSUPP || errno == ENOSPC || errno == EDQUOT || errno == EINTR;
  return Errno(undecided ? EAGAIN : errno);
}

Result<uint64_t> PosixOpenFile::Write(absl::Span<const iovec> pieces, uint64_t offset,
                                      bool kill_suid_gid, const Identity& identity) {
  DCHECK(pieces.size() <= kMaxPieces);
  if (offset > static_cast<uint64_t>(INT64_MAX)) return Errno(EINVAL);
  Errno error = ThreadCredentials::OfThisThread().Assume(
      identity, kill_suid_gid ? SetIdBits::kClear : SetIdBits::kKeep);
  if (!error.ok()) return error;
  return WriteAll(fd_.get(), pieces, offset);
}

Errno PosixOpenFile::Fsync(bool data_only) {
  return ToErrno(data_only ? fdatasync(fd_.get()) : fsync(fd_.get()));
}

Errno PosixOpenFile::Fallocate(const Identity& identity, uint64_t offset, uint64_t length,
                               uint32_t mode) {
  if (BadRange(offset, length)) return Errno(EFBIG);
  if (Errno error = ThreadCredentials::OfThisThread().Assume(identity); !error.ok()) return error;
  return ToErrno(fallocate(fd_.get(), static_cast<int>(mode), static_cast<off_t>(offset),
                           static_cast<off_t>(length)));
}

Result<uint64_t> PosixOpenFile::Seek(uint64_t offset, uint32_t whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return Errno(EINVAL);
  if (offset > static_cast<uint64_t>(INT64_MAX)) return Errno(ENXIO);
  // Moves the descriptor's position, which nothing here uses.
  const off_t found = lseek(fd_.get(), static_cast<off_t>(offset), static_cast<int>(whence));
  if (found < 0) return LastErrno();
  return static_cast<uint64_t>(found);
}

Result<uint64_t> PosixOpenFile::CopyRange(const Identity& identity, uint64_t offset, OpenFile& out,
                                          uint64_t out_offset, uint64_t length) {
  if (out.fd() < 0) return Errno(EISDIR);
  length = std::min(length, kMaxCopyBytes);
  if (BadRange(offset, length) || BadRange(out_offset, length)) return Errno(EINVAL);
  if (Errno error = ThreadCredentials::OfThisThread().Assume(identity); !error.ok()) return error;
  off_t from = static_cast<off_t>(offset), to = static_cast<off_t>(out_offset);
  const ssize_t size = copy_file_range(fd_.get(), &from, out.fd(), &to, length, 0);
  if (size >= 0) return static_cast<uint64_t>(size);
  if (!NeedsCopyThroughMemory(errno)) return LastErrno();
  return CopyThroughMemory(fd_.get(), offset, out.fd(), out_offset, length);
}

Result<uint64_t> PosixOpenFile::ReadDir(const Identity&, uint64_t, bool, absl::Span<std::byte>) {
  return Errno(ENOTDIR);
}

}  // namespace rdmafs
