// OpenTable: the open files of one session, by the ids that its client chose.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/append_queue.h"
#include "server/attachment.h"
#include "server/store.h"

namespace rdmafs::server {

// What an id names. Immutable but for the queue; shared by the calls that use it.
struct OpenEntry {
  std::shared_ptr<OpenFile> file;
  std::shared_ptr<const Attachment> attachment;
  AppendQueue appends;
};

// Thread-safe. Striped, so that the channels of a session seldom meet at one lock.
class OpenTable {
 public:
  explicit OpenTable(size_t limit) : limit_(limit) {}

  enum class Reserved { kOk, kDuplicate, kFull };
  // Takes `id` before the file is opened, so that a second open with it is seen however they race.
  Reserved Reserve(wire::OpenId id);
  // The open succeeded. False when the session has ended meanwhile.
  bool Fill(wire::OpenId id, std::shared_ptr<OpenEntry> entry);
  // The open failed.
  void Abandon(wire::OpenId id);

  // nullptr: no such file, or it is not open yet.
  std::shared_ptr<OpenEntry> Find(wire::OpenId id) const;
  std::shared_ptr<OpenEntry> Remove(wire::OpenId id);
  // Ends it: everything comes out, nothing goes in any more.
  std::vector<std::shared_ptr<OpenEntry>> Close();

  size_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kStripes = 8;
  struct Stripe {
    mutable absl::Mutex mutex;
    absl::flat_hash_map<wire::OpenId, std::shared_ptr<OpenEntry>> entries ABSL_GUARDED_BY(mutex);
    bool closed ABSL_GUARDED_BY(mutex) = false;
  };
  Stripe& StripeOf(wire::OpenId id) { return stripes_[id % kStripes]; }
  const Stripe& StripeOf(wire::OpenId id) const { return stripes_[id % kStripes]; }

  const size_t limit_;
  std::atomic<size_t> count_{0};
  std::array<Stripe, kStripes> stripes_;
};

}  // namespace rdmafs::server
