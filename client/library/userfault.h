// Userfault: the kernel's word for changes of this process's mappings, by a userfaultfd(2).
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "client/library/watched_ranges.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::library {

// What became of watched memory.
struct MappingChange {
  enum class Kind {
    kGone,       // unmapped or moved away: no longer watched
    kMoved,      // to here, and still watched
    kDiscarded,  // its pages are about to be given up, the mapping stands
  };
  Kind kind;
  AddressRange range;
};

// Watch(), Unwatch() and IsChanging() may be called by any thread, Take() by one. Neither Take()
// nor IsChanging() allocates or frees.
//
// Where the kernel can, memory is registered for write-protection faults, of which there are none
// as nothing is protected; elsewhere for missing pages, which Take() then fills with zeroes. A
// child of fork(2) has unwatched copies.
class Userfault {
 public:
  // A sentence that says what is missing, when it cannot be had.
  static absl::StatusOr<std::unique_ptr<Userfault>> Open();
  ~Userfault();

  // Polls readable when there is something to Take().
  int fd() const { return fd_.get(); }
  // False when this kind of memory cannot be watched.
  bool Watch(AddressRange pages);
  void Unwatch(AddressRange pages);
  // Whether the kernel is changing a watched mapping and its event has not been taken. Once this is
  // false, all changes that were complete by then have been taken.
  bool IsChanging() const;
  // The next changes, at most two: a move is one away and one to. Returns their number; 0: none
  // waits.
  int Take(MappingChange (&changes)[2]);

 private:
  Userfault() = default;
  absl::Status OpenWith(uint64_t mode, int flags, uint64_t features);
  absl::Status MakeProbe();
  void FillPage(uintptr_t address) const;

  UniqueFd fd_;
  uint64_t mode_ = 0;
  void* probe_ = nullptr;  // a page that is watched and never changes
};

}  // namespace rdmafs::library
