// Whether a device's memory windows do what they are for: found out by doing it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

struct WindowSupport {
  std::string fault;  // why they cannot be used; empty when they can
  // The bit of ibv_wc::wc_flags by which a receive says that it invalidated an rkey.
  // IBV_WC_WITH_INV but on devices which put another one there (Soft-RoCE hands the kernel's number
  // through).
  unsigned invalidated_flag = 0;
  // Whether an access beyond a window, but within the registration below it, is refused (Soft-RoCE,
  // as of Linux 7.2, looks at the registration's range only).
  bool keeps_range = false;
  // Whether a retransmission fails at a bind that was behind what is sent again: it is carried out
  // once more, which a window that is bound refuses, and the connection is lost. Soft-RoCE
  // retransmits now and then although nothing was lost, as its timer is not set anew by an
  // acknowledgement (Linux 6.1 to 7.2).
  bool repeats_binds = false;
  bool ok() const { return fault.empty(); }
};

// Two QPs on the device and address of `id` try each other: a bound window is written through, and
// is dead after a SEND with invalidate, twice; it is not read through; what it is bound to cannot
// be reached by its own rkey; and whether its range is kept, and a bind not repeated. Blocks, for
// kWindowTrialTime at most.
WindowSupport TryWindows(rdma_cm_id& id, const Clock& clock);
inline constexpr Nanoseconds kWindowTrialTime = 3 * kSecond;

// What was found out, once for each device, and of each server. Thread-safe.
class WindowTrials {
 public:
  explicit WindowTrials(const Clock& clock) : clock_(clock) {}

  // Tries the device of `id`, unless it has been; others who ask wait. Logs what a user has to
  // know. The caller uses the device (OpenDevices::Use()).
  WindowSupport Of(rdma_cm_id& id);
  // Why calls to `peer` are not exposed by windows, though the device could; "" when they are.
  std::string RefusalOf(const std::string& peer) const;
  void Refused(const std::string& peer, const std::string& why);

 private:
  static constexpr size_t kMaxRefusals = 256;

  const Clock& clock_;
  mutable absl::Mutex mutex_;
  std::map<std::string, WindowSupport> by_device_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> refusals_ ABSL_GUARDED_BY(mutex_);  // by peer
};

}  // namespace rdmafs::rdma
