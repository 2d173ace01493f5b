// Export: an attached export, with the threads, pools and connections that serve one user of the
// library.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/notification.h"
#include "client/client.h"
#include "client/library/caller_memory.h"
#include "client/library/completions.h"
#include "client/library/pool_buffers.h"
#include "client/library/transports.h"
#include "client/stack.h"
#include "client/tls_options.h"

namespace rdmafs::library {

class Export;

// The end of an operation: the result goes to whoever waits, or to the completions. Called once, on
// any thread; small enough for a Reply's captures.
class Finish {
 public:
  Finish(Export& owner, rdmafs_call* call) : export_(&owner), call_(call) {}
  struct Waiter {
    absl::Notification done;
    int64_t result = 0;
  };
  Finish(Export& owner, Waiter* waiter) : export_(&owner), waiter_(waiter) {}

  // A count, or -errno.
  void operator()(int64_t result) const;
  void operator()(Errno error) const { (*this)(-int64_t{error.value()}); }

 private:
  Export* export_;
  rdmafs_call* call_ = nullptr;
  Waiter* waiter_ = nullptr;
};

// Bytes by the way they went; written by the shards.
struct Traffic {
  std::atomic<uint64_t> direct{0}, bounced{0}, inlined{0}, read_ahead{0}, copied{0};
  std::atomic<uint64_t> call_registrations{0};
};

// Thread-safe, but the destructor.
class Export {
 public:
  struct Options {
    Endpoint server;
    std::string directory;
    TransportChoice transport = TransportChoice::kAuto;
    MemoryExposure exposure = MemoryExposure::kCache;
    size_t threads = 1;
    int connections = 4;
    size_t pool_bytes = size_t{64} << 20;
    Nanoseconds timeout = 0;
    bool watches_mappings = false;  // registrations of plain memory are kept
    ReadAheadOptions read_ahead{.mode = ReadAheadMode::kOff};
    KeySource key;
    TlsOptions tls;
  };

  // Blocks. One clear sentence when it fails.
  static absl::StatusOr<std::unique_ptr<Export>> Connect(const Options& options,
                                                         const TransportFactory& make_transports);
  ~Export();

  // False in a child that was forked since: nothing of it may be touched there.
  bool OfThisProcess() const { return *alive_ != 0; }
  // What must be 0 before it may be destroyed.
  uint64_t PendingCount() const;

  // Starts `operation` on that shard's thread, which calls it with a FileSystem& and a Finish. With
  // a call: 0 at once. Without: waits, and returns the result.
  template <typename Operation>
  int64_t Run(size_t shard, rdmafs_call* call, Operation operation);

  size_t NextShard() {
    return next_shard_.fetch_add(1, std::memory_order_relaxed) % shards_.size();
  }
  BufferPool& pool(size_t shard) { return shards_[shard]->pool; }
  BufferPool& messages() { return messages_; }
  const Entry& root() const { return client_->root(); }
  // As who the library's user acts. The groups are this object's.
  const Caller& caller() const { return caller_; }
  bool registers_memory() const;

  CallerMemory& memory() { return *memory_; }
  PoolBuffers& buffers() { return buffers_; }
  Completions& completions() { return completions_; }
  Traffic& traffic() { return traffic_; }
  const std::string& transport_name() const { return transport_name_; }
  void Describe(rdmafs_statistics& statistics) const;

  std::atomic<uint64_t> operation_count{0}, file_count{0}, node_count{0};

 private:
  struct Shard {
    Shard(Arena& arena, const Clock& clock, size_t pool_bytes)
        : loop(clock), pool(arena, {.cap_bytes = pool_bytes}), thread([this] { loop.Run(); }) {}
    EventLoop loop;
    BufferPool pool;
    std::unique_ptr<Stack> stack;
    std::thread thread;
  };

  explicit Export(const Options& options);
  absl::Status Connect(const TransportFactory& make_transports);
  void BuildStacks();

  const Options options_;
  const volatile char* const alive_;  // a page that a forked child finds empty
  const MonotonicClock clock_;
  Arena arena_;
  BufferPool messages_;
  std::vector<uint32_t> groups_;
  Caller caller_;
  Transports transports_;
  std::unique_ptr<Connector> connector_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<Client> client_;
  InodeVersions versions_;
  std::unique_ptr<ReadAheadFiles> read_ahead_files_;
  std::unique_ptr<CallerMemory> memory_;
  PoolBuffers buffers_;
  Completions completions_;
  Traffic traffic_;
  std::string transport_name_;
  std::atomic<size_t> next_shard_{0};
};

template <typename Operation>
int64_t Export::Run(size_t shard, rdmafs_call* call, Operation operation) {
  if (!OfThisProcess()) return -ECHILD;
  operation_count.fetch_add(1, std::memory_order_relaxed);
  Shard& there = *shards_[shard];
  auto start = [&there, operation = std::move(operation)](Finish finish) mutable {
    there.loop.Post([&there, operation = std::move(operation), finish]() mutable {
      operation(there.stack->top(), finish);
    });
  };
  if (call != nullptr) {
    start(Finish(*this, call));
    return 0;
  }
  Finish::Waiter waiter;
  start(Finish(*this, &waiter));
  waiter.done.WaitForNotification();
  return waiter.result;
}

}  // namespace rdmafs::library
