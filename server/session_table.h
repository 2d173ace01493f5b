// SessionTable: all sessions, those of clients that are away among them.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/session.h"
#include "transport/base/errno.h"

namespace rdmafs::server {

// Fills its argument with unpredictable bytes: getrandom(2), or a test's sequence.
using auth::RandomSource;

// Thread-safe.
class SessionTable {
 public:
  explicit SessionTable(RandomSource random) : random_(std::move(random)) {}

  // A new session, without a connection yet. ENFILE over the bound: see OldestIdle().
  // `key`: of the client that begins it, when it has proved one.
  Result<std::shared_ptr<Session>> Create(std::string_view peer_host,
                                          std::optional<Session::KeyProof> key = std::nullopt,
                                          Protection protection = Protection::kNone);
  // ESTALE: no such session (it is over, or was another server's).
  Result<std::shared_ptr<Session>> Find(const SessionId& id) const;
  // It is over.
  void Erase(const Session& session);

  // Of the sessions whose client is away the one that began first, to make room when there is none;
  // nullptr while there is room, or nobody is away.
  std::shared_ptr<Session> OldestIdle() const;

  std::vector<std::shared_ptr<Session>> All() const;
  size_t count() const;
  size_t idle_count() const;
  size_t open_file_count() const;

 private:
  const RandomSource random_;
  mutable absl::Mutex mutex_;
  std::map<SessionId, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace rdmafs::server
