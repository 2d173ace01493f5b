// LockTable: fcntl(2), OFD and flock(2) locks of all clients, by file.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/store.h"
#include "transport/base/reply.h"

namespace rdmafs {

// Semantics are Linux's: a request waits only for locks that are held, those that wait are served
// in the order in which they came; a waiting change of a flock(2) lock gives the old one up first;
// waits of fcntl owners for one another are searched for cycles. Thread-safe; never blocks: a lock
// that has to wait completes its Reply later, on the thread of whoever made room (the Reply posts
// to its own loop). No Reply completes while the table's mutex is held.
class LockTable {
 public:
  // An owner is a client's process (or open file) in a session.
  struct Owner {
    uint64_t session = 0;
    uint64_t owner = 0;
    friend auto operator<=>(const Owner&, const Owner&) = default;
  };
  // The open file it was taken through: its release drops it.
  using Through = std::pair<uint64_t /*session*/, wire::OpenId>;
  using WaitId = uint64_t;
  // Per session; beyond them ENOLCK.
  struct Limits {
    size_t held = 16384;
    size_t waiting = 1024;
  };

  LockTable() : LockTable(Limits{16384, 1024}) {}
  explicit LockTable(Limits limits);
  ~LockTable();

  // The first lock in the way, or one of type kUnlock.
  wire::LockRange Get(const OpenFile::FileId&, const Owner&, const wire::LockRange&,
                      bool flock) const;
  // EAGAIN when it is held by another and `wait` is false; EDEADLK for a cycle of waiting fcntl
  // owners; ENOLCK over the bounds; EINVAL for a range or type that is none. Returns the id of a
  // wait, 0 when it completed at once.
  WaitId Set(const OpenFile::FileId&, const Owner&, Through, const wire::LockRange&, bool flock,
             bool wait, Reply<Unit>);
  // The waiting call answers EINTR; a no-op when it has completed.
  void Cancel(WaitId);
  // close(2) by a process: its fcntl locks on the file.
  void ReleaseOwner(const OpenFile::FileId&, const Owner&);
  // The last close of an open file: all locks taken through it, and waits through it (EBADF).
  void ReleaseThrough(const OpenFile::FileId&, Through);
  // A session ended: all it holds and waits for.
  void ReleaseSession(uint64_t session);

  // `changed` hears, under the table's mutex, that a session has its first lock, or none any more.
  // Before it is used.
  void WatchHolders(std::function<void(uint64_t session, bool holds)> changed);
  size_t held_count() const;
  size_t waiting_count() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rdmafs
