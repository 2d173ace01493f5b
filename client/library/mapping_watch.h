// MappingWatch: knows whether memory of the program is still mapped as it was when it was
// registered.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "client/library/userfault.h"
#include "client/library/watched_ranges.h"
#include "transport/base/clock.h"

namespace rdmafs::library {

// Thread-safe. The thread of the program that unmaps watched memory stands still until this class's
// thread has taken the event. That thread therefore only writes down what happened: it neither
// allocates nor frees, and the lock it takes is held by no one who does. The consequences
// (`forget`) are drawn by the next caller of Stands(), before registrations are looked up.
class MappingWatch {
 public:
  // No registration that touches this memory may be used any more. Of no address and every size:
  // all.
  using Forget = std::function<void(absl::Span<std::byte>)>;
  struct Statistics {
    uint64_t range_count, range_bytes, change_count;
  };
  static constexpr size_t kMaxRanges = 1024;
  // A discard is told of before the pages go. Who registers them in between has pages that are no
  // one's a moment later: for so long such memory is not trusted.
  static constexpr Nanoseconds kDiscardTime = 100 * kMillisecond;

  // The clock must outlive it. A sentence that says why, when the kernel does not allow it.
  static absl::StatusOr<std::unique_ptr<MappingWatch>> Create(const Clock& clock, Forget forget);
  ~MappingWatch();

  // True: `memory` is watched, and `forget` has been called for every change of its mapping that
  // was over before this call; so what is registered of it and not forgotten is right, and what is
  // registered from now on may be kept. False: none may be kept, and none that is there be used: it
  // is not private anonymous memory, there are kMaxRanges already, or it has just been discarded.
  // The caller answers for the mapping's standing from this call to the end of its use.
  bool Stands(absl::Span<std::byte> memory);

  Statistics statistics() const;

 private:
  enum class Verdict { kStands, kNotWatched, kNever, kChanged };
  static constexpr size_t kMaxPending = 64, kMaxDiscarded = 16;
  struct Discarded {
    AddressRange range;
    Nanoseconds until = 0;
  };
  using Pending = std::array<AddressRange, kMaxPending>;

  MappingWatch(const Clock& clock, Forget forget, std::unique_ptr<Userfault> userfault);
  void Run();
  void Note(const MappingChange& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteStale(AddressRange range) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteDiscarded(AddressRange range) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Settle() const;
  Verdict Judge(AddressRange pages, uint64_t& change_count);
  void ForgetStale();
  bool Begin(AddressRange pages, uint64_t change_count);

  const Clock& clock_;
  const Forget forget_;
  const std::unique_ptr<Userfault> userfault_;
  UniqueFd stop_;
  std::thread thread_;

  absl::Mutex forgetting_;  // held while `forget` is called; before mutex_
  mutable absl::Mutex mutex_;  // nothing is allocated or freed while it is held
  WatchedRanges ranges_ ABSL_GUARDED_BY(mutex_){kMaxRanges};
  Pending pending_ ABSL_GUARDED_BY(mutex_);  // to be forgotten
  size_t pending_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_stale_ ABSL_GUARDED_BY(mutex_) = false;  // something is, or is just being forgotten
  std::array<Discarded, kMaxDiscarded> discarded_ ABSL_GUARDED_BY(mutex_);
  uint64_t change_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace rdmafs::library
