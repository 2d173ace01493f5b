#include "server/breach_log.h"

#include <string>
#include <utility>

#include "transport/base/log.h"

namespace rdmafs::server {

void BreachLog::Write(std::string_view transport, std::string_view peer, std::string_view reason) {
  uint64_t left_out;
  {
    absl::MutexLock lock(&mutex_);
    ++count_;
    const Nanoseconds now = clock_.Now();
    if (now - interval_start_ >= kBreachLogInterval) {
      interval_start_ = now;
      lines_ = 0;
    }
    if (lines_ == kBreachLogLines) {
      ++left_out_;
      return;
    }
    ++lines_;
    left_out = std::exchange(left_out_, 0);
  }
  const std::string more =
      left_out == 0 ? "" : absl::StrCat(" (and ", left_out, " more not logged)");
  Log(LogLevel::kWarning, "closing the ", transport, " connection of ", peer, ": ", reason, more);
}

uint64_t BreachLog::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

}  // namespace rdmafs::server
