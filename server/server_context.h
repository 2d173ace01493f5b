// ServerContext: what all shards share.
#pragma once

#include <array>
#include <cstdint>

#include "server/append_locks.h"
#include "server/attachment.h"
#include "server/breach_log.h"
#include "server/lock_table.h"
#include "server/session_table.h"
#include "server/worker_pool.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::server {

class GracePeriod;
class HandshakeLimit;
class KeyRing;
class RecallLog;

// Everything in it is thread-safe, and outlives the shards.
struct ServerContext {
  const Clock& clock;
  BufferPool& messages;  // payload of wire::kMaxMessageBytes and more: also small answers
  BufferPool& blocks;    // payload of wire::kMaxPayloadBytes
  WorkerPool& workers;
  SessionTable& sessions;
  LockTable& locks;
  ExportSource& exports;
  BreachLog& breaches;
  GracePeriod& grace;
  AppendLocks& append_locks;
  RecallLog* recall_log = nullptr;  // nullptr: the next process will know of nothing
  // How long a session is kept for a client that is away.
  Nanoseconds lease = 0;
  std::array<uint64_t, 2> server_id{};  // random, of this process
  std::array<uint64_t, 2> boot_id{};    // of the host
  // Who may come in with a key: all three, or none.
  const KeyRing* keys = nullptr;
  HandshakeLimit* handshakes = nullptr;
  RandomSource random;
  // Nobody comes in without TLS.
  bool tls_required = false;
};

}  // namespace rdmafs::server
