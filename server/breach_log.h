// BreachLog: one line for each peer that broke the protocol, as long as they are not too many.
#pragma once

#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/limits.h"
#include "transport/base/clock.h"

namespace rdmafs::server {

// Thread-safe. At most kBreachLogLines per kBreachLogInterval; the next line that is written says
// how many were left out.
class BreachLog {
 public:
  explicit BreachLog(const Clock& clock) : clock_(clock) {}

  void Write(std::string_view transport, std::string_view peer, std::string_view reason);
  // All of them, written or not.
  uint64_t count() const;

 private:
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  Nanoseconds interval_start_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t lines_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::server
