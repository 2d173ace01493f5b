// LocalDirectory: what the shards of a LocalFileSystem share: objects by handle, open files, locks.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/file_system.h"
#include "transport/base/event_loop.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// Thread-safe. Objects and open files stay until this is destroyed, or are released.
class LocalDirectory {
 public:
  explicit LocalDirectory(const std::string& path);

  const Entry& root() const { return root_; }

  // The object below `parent`, its attributes and handle. `name` "" is the object itself.
  Result<Entry> Find(int parent, const char* name);
  Result<Entry> Find(const FileHandle& parent, std::string_view name);
  // An O_PATH descriptor of the object; -1 when there is none. Stands as long as this.
  int PathFd(const FileHandle& handle) const;

  OpenId NewOpenId() { return next_open_id_.fetch_add(1); }
  void AddOpen(OpenId id, UniqueFd fd);
  // The open file's descriptor (-1: none), kept open while the result lives, whoever releases the
  // file.
  class UsedFd {
   public:
    explicit UsedFd(std::shared_ptr<UniqueFd> fd) : fd_(std::move(fd)) {}
    operator int() const { return fd_ == nullptr ? -1 : fd_->get(); }  // NOLINT: used as one

   private:
    std::shared_ptr<UniqueFd> fd_;
  };
  UsedFd OpenFd(OpenId id) const;
  void Release(OpenId id);
  size_t open_count() const;

  // Whether this has begun to behave like a server that is gone: asking for the extended attribute
  // "user.lost" is what makes it so, and has no answer.
  std::atomic<bool> lost{false};

  // The subset of fcntl and flock locks that tests need: whole-range conflicts between owners.
  LockRange GetLock(OpenId id, const LockRange& range, bool flock);
  CancelToken SetLock(EventLoop& loop, OpenId id, const LockRange& range, uint32_t flags,
                      Reply<Unit> reply);
  void CancelLock(CancelToken token);
  void ReleaseOwner(OpenId id, uint64_t owner);

 private:
  struct Held {
    ino_t ino;
    OpenId through;
    LockRange range;
    bool flock;
  };
  struct Waiting {
    CancelToken token;
    Held held;
    EventLoop* loop;
    Reply<Unit> reply;
  };
  const Held* FindConflict(const Held& wanted) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Apply(const Held& held) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WakeWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Finish(Waiting waiting, Errno error);
  ino_t InodeOf(OpenId id) const;

  mutable absl::Mutex mutex_;
  std::map<std::pair<dev_t, ino_t>, uint64_t> numbers_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<uint64_t, UniqueFd> objects_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<OpenId, std::shared_ptr<UniqueFd>> open_ ABSL_GUARDED_BY(mutex_);
  std::list<Held> held_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  CancelToken next_token_ ABSL_GUARDED_BY(mutex_) = 1;
  std::atomic<OpenId> next_open_id_{1};
  Entry root_;
};

}  // namespace rdmafs
