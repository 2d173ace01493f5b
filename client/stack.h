// BuildStack: the layers between who asks and the remote file system, as the options want them.
#pragma once

#include <memory>
#include <vector>

#include "client/read_ahead_files.h"
#include "client/read_ahead_layer.h"
#include "client/read_ahead_options.h"
#include "transport/base/event_loop.h"

namespace rdmafs {

struct StackParts;
struct StackOptions;

// One shard's. The parts outlive the stack, but the remote file system, which is destroyed before
// it, so that calls in flight are answered through the layers.
class Stack {
 public:
  explicit Stack(FileSystem& remote) : top_(&remote) {}
  Stack(Stack&&) = default;
  ~Stack();

  FileSystem& top() { return *top_; }
  // nullptr without read-ahead. Readable from any thread while the stack stands.
  const ReadAheadStatistics* read_ahead() const { return read_ahead_; }

 private:
  friend Stack BuildStack(const StackParts& parts, const StackOptions& options);
  template <typename T, typename... Args>
  T& Push(Args&&... args);
  void PushReadAhead(const StackParts& parts, const ReadAheadOptions& options);

  FileSystem* top_;
  const ReadAheadStatistics* read_ahead_ = nullptr;
  std::vector<std::unique_ptr<FileSystem>> layers_;  // the lowest first
};

struct StackParts {
  FileSystem& remote;
  EventLoop& loop;
  BufferPool& pool;       // for data fetched ahead
  ReadAheadFiles& files;  // the mount's: the same for every shard
};
struct StackOptions {
  ReadAheadOptions read_ahead;
  ReadAheadSituation situation;
};

// What the shards of a mount share, who have `pool_count` pools like `pool`: half of them all at
// most is used for data fetched ahead.
ReadAheadFiles::Options SharedReadAhead(const ReadAheadOptions& options,
                                        const BufferPool::Options& pool, size_t pool_count);

// All shards of a mount get the same options: a write that passes no layer is not seen by the
// others' caches. Without read-ahead the top is the remote file system itself.
Stack BuildStack(const StackParts& parts, const StackOptions& options);

}  // namespace rdmafs
