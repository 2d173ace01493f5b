// Transfer: a read or write of a program, as the calls that it takes.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include <vector>

#include "client/library/export.h"

namespace rdmafs::library {

// An open file of the library's; made by Open, freed by its close.
struct OpenFile {
  Export& owner;
  const size_t shard;
  const OpenId id;
  const FileHandle handle;
  const int access_mode = O_RDONLY;  // the server may have opened it for more
  std::atomic<uint64_t> operation_count{0};

  // EBADF when it was not opened for this.
  Errno Allows(Direction direction) const {
    const int other = direction == Direction::kReadTo ? O_WRONLY : O_RDONLY;
    return access_mode == other ? Errno(EBADF) : kOk;
  }
};

// Carries pieces of memory to or from a stretch of a file, at most 1 MiB with each call and 16
// calls at once. The result is how many bytes were done without a gap, or the first one's error.
// Lives on the file's shard; destroys itself.
class Transfer {
 public:
  struct Request {
    OpenFile& file;
    Direction direction;
    std::vector<iovec> pieces;
    uint64_t offset;
    // Memory of the library's own (a pool buffer's), kept by `hold`; else the program's.
    Buffer hold;
  };
  static constexpr size_t kMaxCalls = 16;
  static constexpr size_t kMaxBounceBytes = 64 * 1024;

  // EFAULT, EINVAL: it cannot be. Any thread. `file` and the memory stay until `finish` was called.
  static Errno Check(const Request& request);
  // On the file's shard.
  static void Start(FileSystem& file_system, Request request, Finish finish);

 private:
  // How one call reaches its memory.
  struct Segment {
    absl::Span<std::byte> memory;
    uint64_t position = 0;  // in the transfer
    CallerMemory::Use use;
    bool once = false;  // registered for this call alone
    Buffer bounce;
  };

  Transfer(FileSystem& file_system, Request request, Finish finish)
      : file_system_(file_system), request_(std::move(request)), finish_(finish) {}

  void Continue();
  Segment Next();
  void Send(Segment segment);
  PayloadMemory Reach(Segment& segment);
  void OnRead(Segment& segment, const Result<Payload>& result);
  void OnDone(Segment& segment, Result<uint64_t> count);

  FileSystem& file_system_;
  Request request_;
  const Finish finish_;
  size_t piece_ = 0, piece_offset_ = 0;
  uint64_t position_ = 0;       // of the next segment
  uint64_t end_ = UINT64_MAX;   // the first byte that was not done
  Errno error_;                 // of the segment that ended there
  size_t in_flight_ = 0;
  bool continuing_ = false;
};

}  // namespace rdmafs::library
