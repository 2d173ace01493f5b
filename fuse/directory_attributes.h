// DirectoryAttributes: what a directory was like after the last change of its names.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/clock.h"
#include "transport/wire/types.h"

namespace rdmafs::fuse {

// The kernel forgets a directory's attributes when it makes or removes a name there, and asks for
// them before the next one, to check permissions. The server's answer to the change had them: they
// are kept here for that question, if nothing else of this mount may have changed the directory
// since the change began. Thread-safe. A bounded table, in which directories push each other out.
class DirectoryAttributes {
 public:
  // One that is under way.
  struct Change {
    uint64_t node = 0;
    uint32_t number = 0;
    uint32_t epoch = 0;
  };
  struct Kept {
    wire::Attributes attributes;
    Nanoseconds until;
  };

  // Before a call that changes the directory is sent.
  Change Begin(uint64_t node) {
    Place& place = PlaceOf(node);
    absl::MutexLock lock(&place.mutex);
    if (place.node == node) place.node = 0;
    ++place.under_way;
    return {node, ++place.begun, epoch_.load(std::memory_order_acquire)};
  }

  // After its answer, before the kernel hears of it, however it came out. `attributes`: the
  // directory's then; of mode 0: not known. `until`: how long the kernel may believe them.
  // `others`: it may have removed, replaced or moved a directory that is not named here.
  void End(const Change& change, const wire::Attributes& attributes, Nanoseconds until,
           bool others = false) {
    const uint32_t moves = others ? 1 : 0;
    const uint32_t epoch = epoch_.fetch_add(moves, std::memory_order_acq_rel) + moves;
    Place& place = PlaceOf(change.node);
    absl::MutexLock lock(&place.mutex);
    const bool alone =
        --place.under_way == 0 && place.begun == change.number && epoch == change.epoch + moves;
    if (attributes.mode == 0 || !alone) return;
    place.node = change.node;
    place.epoch = epoch;
    place.kept = {attributes, until};
  }

  // The kernel is being told other attributes of the directory, or something else happens to it.
  void Forget(uint64_t node) {
    Place& place = PlaceOf(node);
    absl::MutexLock lock(&place.mutex);
    if (place.node == node) place.node = 0;
  }

  // What was kept, once: the kernel knows it then.
  std::optional<Kept> Take(uint64_t node, Nanoseconds now) {
    Place& place = PlaceOf(node);
    absl::MutexLock lock(&place.mutex);
    if (place.node != node) return std::nullopt;
    place.node = 0;
    if (place.epoch != epoch_.load(std::memory_order_acquire) || place.kept.until <= now)
      return std::nullopt;
    return place.kept;
  }

 private:
  static constexpr size_t kPlaceCount = 128;
  struct Place {
    absl::Mutex mutex;
    uint32_t begun ABSL_GUARDED_BY(mutex) = 0;  // of all directories whose place this is
    uint32_t under_way ABSL_GUARDED_BY(mutex) = 0;
    uint64_t node ABSL_GUARDED_BY(mutex) = 0;  // 0: nothing is kept
    uint32_t epoch ABSL_GUARDED_BY(mutex) = 0;
    Kept kept ABSL_GUARDED_BY(mutex){};
  };
  Place& PlaceOf(uint64_t node) { return places_[node % kPlaceCount]; }

  std::array<Place, kPlaceCount> places_;
  std::atomic<uint32_t> epoch_{0};  // one more with each change that touches unnamed directories
};

}  // namespace rdmafs::fuse
