// World: a server, its disk, and clients of it, in one simulation.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "server/recall_log.h"
#include "server/server.h"
#include "tests/server/memory_store.h"
#include "tests/simulation/crashable_store.h"
#include "tests/simulation/cuttable_transport.h"
#include "tests/simulation/scheduler.h"
#include "transport/loopback/loopback_transport.h"

namespace rdmafs::simulation {

// Memory lives as long as the process: what a run leaves in it is a leak.
struct Memory {
  Arena arena;
  BufferPool messages{arena,
                      {.payload_bytes = 8192,
                       .headroom_bytes = 0,
                       .tailroom_bytes = 0,
                       .cap_bytes = size_t{16} << 20,
                       .slab_bytes = size_t{2} << 20}};
  BufferPool blocks{arena, {.cap_bytes = size_t{16} << 20, .slab_bytes = size_t{4} << 20}};
};

inline constexpr uint16_t kPort = 20490;
inline constexpr Nanoseconds kLease = 20 * kSecond;

// A host with a disk, on which server processes come and go.
class SimulatedServer {
 public:
  SimulatedServer(Scheduler& scheduler, Memory& memory, std::shared_ptr<LoopbackHub> hub,
                  const CrashableStore::Faults& faults);
  ~SimulatedServer();

  void Start();
  // As kill -9 does it: nothing that was not done yet is done, nothing that was not sent is sent.
  void Kill();
  bool running() const { return process_ != nullptr; }
  // As kill -9 in the middle of a call does it; what the process does from then on is not seen.
  void Crash();
  int start_count() const { return start_count_; }
  size_t session_count() const { return process_->server.context().sessions.count(); }

  server::MemoryStore& disk() { return disk_; }

 private:
  struct Process {
    Process(SimulatedServer& host, const VirtualClock& clock);
    std::shared_ptr<CrashableStore> store;
    server::OneExport exports;
    std::unique_ptr<server::RecallLog> recall_log;
    server::Server server;
    EventLoop accept_loop;
    LoopbackTransport transport;
    std::unique_ptr<Listener> listener;
  };
  static constexpr int kShards = 2;

  Scheduler& scheduler_;
  Memory& memory_;
  const std::shared_ptr<LoopbackHub> hub_;
  const CrashableStore::Faults faults_;
  server::MemoryStore disk_;
  std::unique_ptr<Process> process_;
  std::vector<std::shared_ptr<CrashableStore>> stores_;
  int start_count_ = 0;
  bool killing_ = false;
  bool crashed_ = false;
  UniqueFd calls_;             // what its log of calls is in
  std::vector<server::LockHolder> lock_holders_;  // what a process leaves to the next
  uint64_t random_words_ = 0;
};

// A mount: the client's stack without the kernel.
class SimulatedClient {
 public:
  SimulatedClient(Scheduler& scheduler, Memory& memory, std::shared_ptr<LoopbackHub> hub,
                  Nanoseconds soft_timeout);
  ~SimulatedClient();

  // On a thread of the scheduler. The status is Client::Connect()'s.
  absl::Status Connect();
  // The same. Without a network it is as if the client had died.
  void Shutdown();

  CuttableTransport& network() { return network_; }
  const FileHandle& root() const { return root_; }
  bool connected() const { return client_ != nullptr; }
  Memory& memory() { return memory_; }

  // Asks on the shard's thread and waits for the answer. On a thread of the scheduler.
  template <typename T, typename Start>
  Result<T> Do(Start start) {
    struct Outcome {
      absl::Mutex mutex;
      bool done = false;
      std::optional<Result<T>> result;
    } outcome;
    loop_.Post([&] {
      Reply<T> reply([&outcome](Result<T> result) {
        absl::MutexLock lock(&outcome.mutex);
        outcome.result.emplace(std::move(result));
        outcome.done = true;
      });
      if (client_ == nullptr) return reply.Complete(Errno(ENOTCONN));  // the mount has ended
      start(client_->file_system(0), std::move(reply));
    });
    absl::MutexLock lock(&outcome.mutex);
    scheduler_.Await(outcome.mutex, absl::Condition(&outcome.done), Waiting::kForEver);
    return std::move(*outcome.result);
  }

 private:
  Scheduler& scheduler_;
  Memory& memory_;
  EventLoop loop_;
  LoopbackTransport loopback_;
  CuttableTransport network_;
  Connector connector_;
  const ClientOptions options_;
  std::unique_ptr<Client> client_;
  FileHandle root_;
};

}  // namespace rdmafs::simulation
