#include "transport/base/check.h"

#include <cstdio>
#include <cstdlib>

#include "absl/synchronization/mutex.h"

namespace rdmafs {

void CheckFailed(const char* file, int line, const char* expression) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, expression);
  std::abort();
}

void ChooseMutexChecks() {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

}  // namespace rdmafs
