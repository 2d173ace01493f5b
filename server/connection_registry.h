// ConnectionRegistry: the connections of one shard, for whoever counts them.
#pragma once

#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/connection.h"
#include "transport/control/status_document.h"

namespace rdmafs::server {

// Thread-safe. Its lock is taken when connections come and go, and by AddTo(), never by calls.
class ConnectionRegistry {
 public:
  void Add(const Connection& connection);
  // Before `connection` is destroyed. What it counted stays in the sums.
  void Remove(const Connection& connection);

  // Names, peers and traffic, and the credits of those that are there.
  void AddTo(ProgramStatus::Transport& transport, ProgramStatus::Credits& credits) const;
  size_t count() const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<const Connection*> connections_ ABSL_GUARDED_BY(mutex_);
  ProgramStatus::Transport past_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::server
