// Server: the shards, and what they share.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/grace_period.h"
#include "server/handshake_limit.h"
#include "server/limits.h"
#include "server/server_context.h"
#include "server/shard.h"
#include "transport/connection.h"
#include "transport/control/status_document.h"

namespace rdmafs::server {

// The host's boot id: what a client compares to see whether un-synced writes may be lost.
std::array<uint64_t, 2> ReadBootId();

struct ServerOptions {
  int shard_count = 1;
  int worker_count = 4;
  bool use_io_uring = true;
  Nanoseconds busy_poll = 0;          // of the shards' loops
  Nanoseconds lease = kDefaultLease;  // of a session without a connection
  const KeyRing* keys = nullptr;      // of clients; outlives the server. nullptr: nobody has one
  bool tls_required = false;          // nobody comes in without
  std::function<void()> prepare_worker;
  // Which sessions held locks when the process before this one ended, and who remembers it for the
  // next: see GracePeriod.
  std::vector<LockHolder> lock_holders;
  GracePeriod::Remember remember_lock_holders;
  // What the next process is told of calls that must not be done twice, and this one was told by
  // those before it: decided, see DecideCallsInDoubt(). Outlives the server. nullptr: nothing.
  RecallLog* recall_log = nullptr;
};

// Thread-safe after Start().
class Server {
 public:
  // Memory and exports are the caller's, and outlive the server. `random`: see SessionTable.
  Server(const Clock& clock, BufferPool& messages, BufferPool& blocks, ExportSource& exports,
         RandomSource random, const ServerOptions& options);
  // After Stop().
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void Start();
  // A transport's AcceptFunction: the next shard in turn takes it. Closes it at once over the
  // bound.
  void Accept(std::unique_ptr<Connection> connection);
  // Closes every connection, waits for the calls under way, and ends the threads. False when they
  // did not end in time: the process should then end without destroying the server.
  bool Stop(Nanoseconds patience);

  // The exports have changed: a worker asks again for each session's attachments. What a client may
  // no longer have becomes ESTALE; a file that stays open keeps the rules it was opened with. A
  // session whose key is gone loses its connections; it goes on when its client comes with another.
  void ReviewAttachments();

  // Adds what the server knows of itself.
  void AddTo(ProgramStatus& status) const;

  size_t connection_count() const;
  Shard& shard(size_t index) { return *shards_[index]; }
  const ServerContext& context() const { return context_; }

 private:
  const ServerOptions options_;
  WorkerPool workers_;
  SessionTable sessions_;
  LockTable locks_;
  BreachLog breaches_;
  GracePeriod grace_;
  AppendLocks append_locks_;
  HandshakeLimit handshakes_;
  ServerContext context_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::atomic<size_t> next_shard_{0};
  std::atomic<uint64_t> refused_count_{0};
};

}  // namespace rdmafs::server
