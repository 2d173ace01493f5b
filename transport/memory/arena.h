// Arena: slabs of page-aligned memory that live as long as the process's transport does.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace rdmafs {

// Thread-safe. Slabs are anonymous memory (huge pages where there are any), never freed before the
// arena, marked MADV_DONTFORK, so that a registration of them stands as long as the arena.
class Arena {
 public:
  using Slab = absl::Span<std::byte>;
  // Called with every slab there is and every one that comes, on the thread that adds it, before a
  // byte of it is used. Must not call back into the arena.
  using Observer = std::function<void(Slab)>;

  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Adds a slab of `size_bytes` (rounded up to 2 MiB). Empty span when the kernel has no memory.
  Slab Add(size_t size_bytes);

  // Returns an id for RemoveObserver().
  int AddObserver(Observer observer);
  void RemoveObserver(int id);

  // Whether Renew() can be used: nobody observes the slabs, and they are of pages of 4 KiB, not of
  // reserved huge ones. Any thread.
  bool renewable() const { return lasting_.load(std::memory_order_acquire) == 0; }
  // Gives `pages`, whole ones of a slab that only the caller uses now, others with the same bytes.
  // What the kernel still refers to (vmsplice(2)) are the old ones, and nothing changes those any
  // more. For slabs with which the arena was renewable(), and while nobody observes them. Copies.
  void Renew(absl::Span<std::byte> pages);

  size_t size_bytes() const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<Slab> slabs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<int, Observer>> observers_ ABSL_GUARDED_BY(mutex_);
  int next_observer_ ABSL_GUARDED_BY(mutex_) = 1;
  // Observers, and slabs of larger pages: for each of them, pages must stay where they are.
  std::atomic<int> lasting_{0};
};

}  // namespace rdmafs
