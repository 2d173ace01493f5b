// SessionTable: all sessions, and how many connections each has.
#pragma once

#include <functional>
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
using RandomSource = std::function<void(absl::Span<std::byte>)>;

// Thread-safe.
class SessionTable {
 public:
  explicit SessionTable(RandomSource random) : random_(std::move(random)) {}

  // A new session with one connection. ENFILE over the bound.
  Result<std::shared_ptr<Session>> Create(std::string_view peer_host);
  // One more connection of it. ESTALE: no such session (it ended, or was another server's);
  // EACCES: it is another host's; EMFILE: it has as many as it may.
  Result<std::shared_ptr<Session>> Join(const SessionId& id, std::string_view peer_host);
  // Closes all connections of a session of that host, and lets none join any more. Returns it, so
  // that its end can be waited for; nullptr when there is none.
  std::shared_ptr<Session> Fence(const SessionId& id, std::string_view peer_host);
  // One connection less. True when it was the last: the session is over.
  bool Leave(const Session& session);

  std::vector<std::shared_ptr<Session>> All() const;
  size_t count() const;
  size_t open_file_count() const;

 private:
  struct Entry {
    std::shared_ptr<Session> session;
    size_t channel_count;
    bool fenced = false;
  };

  const RandomSource random_;
  mutable absl::Mutex mutex_;
  std::map<SessionId, Entry> sessions_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace rdmafs::server
