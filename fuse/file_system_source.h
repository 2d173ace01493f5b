// FileSystemSource: where a mount's file system comes from: a server, or a test's directory.
#pragma once

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/file_system.h"
#include "transport/base/event_loop.h"
#include "transport/control/status_document.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// Used by the mount program's main thread, but for what says otherwise.
class FileSystemSource {
 public:
  struct Attached {
    Entry root;
    bool read_only = false;
  };

  // What a shard works with: both are there until after Shutdown(), and the loop runs. The pool is
  // the shard's own, or the same for all.
  struct ShardParts {
    EventLoop* loop;
    BufferPool* pool;
  };

  virtual ~FileSystemSource() = default;

  // Connects and attaches: blocks for a bounded time; one clear sentence in the status when it
  // fails. Called once, after the last fork.
  virtual absl::StatusOr<Attached> Connect(absl::Span<const ShardParts> shards) = 0;
  // For the thread of that shard's loop only; until Shutdown().
  virtual FileSystem& file_system(size_t shard) = 0;
  // Ends it, whether Connect() succeeded or not: every Reply that is still owed completes before it
  // returns, and no server is waited for.
  virtual void Shutdown() = 0;

  // Whether operations wait for a server that is not there. Any thread, lock-free.
  virtual bool IsLost() const { return false; }

  // Whether payload goes through sockets, at the cost of processor time. After Connect().
  virtual bool uses_sockets() const { return true; }

  // Adds what is known of connections, credits and memory, while the shards run.
  virtual void Describe(ProgramStatus& status) const {}
};

}  // namespace rdmafs::fuse
