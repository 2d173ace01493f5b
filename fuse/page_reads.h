// PageReads: reads into the kernel's page cache stay behind the writes whose data that has dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/event_loop.h"

namespace rdmafs::fuse {

// A write(2) copies its data into the page cache, gives the pages free, and then asks for the
// WRITE. Until that is answered, whatever drops the pages (other attributes, an open, a lock) lets
// the next reader ask for them again; and what he then gets from the server may be older than the
// write, is cached, and stays when the write is done. So such a read waits for the writes under
// way, and one that a write of its bytes has overtaken is asked once more. It cannot go on for
// ever: as long as a page is being read, nobody writes to it. Thread-safe.
class PageReads {
 public:
  // A read of the bytes [begin, end).
  struct Read {
    Read(EventLoop& asker, uint64_t node, uint64_t offset, uint64_t size)
        : loop(asker), node_id(node), begin(offset), end(offset + size) {}
    virtual ~Read() = default;
    // Asks for them; on `loop`.
    virtual void Ask(std::shared_ptr<Read> self) = 0;

    EventLoop& loop;
    const uint64_t node_id, begin, end;

   private:
    friend class PageReads;
    bool overtaken_ = false;  // guarded by the mutex
  };

  // `unique` names the write until its end: the server has answered, and the kernel does not know.
  void BeginWrite(uint64_t node_id, uint64_t unique, uint64_t begin, uint64_t end);
  void EndWrite(uint64_t node_id, uint64_t unique);

  // False: a write is in the way, and Ask() comes when it is done.
  bool Begin(const std::shared_ptr<Read>& read);
  // Whether it may be believed; otherwise it is to be asked again.
  bool End(const std::shared_ptr<Read>& read);

 private:
  struct Write {
    uint64_t unique, begin, end;
  };
  struct File {
    absl::InlinedVector<Write, 2> writes;
    std::vector<std::shared_ptr<Read>> reads;
    std::vector<std::shared_ptr<Read>> waiting;

    bool IsInTheWay(const Read& read) const;
  };
  using Files = absl::flat_hash_map<uint64_t, File>;
  void DropUnused(Files::iterator file) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  Files files_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::fuse
