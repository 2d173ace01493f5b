// AppendQueue: the writes of one O_APPEND file, one at a time and in the order they came.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/work_item.h"

namespace rdmafs::server {

class Call;

// Thread-safe. A kernel that sends the pieces of one large write in parallel counts on their order;
// O_APPEND has no offsets that would keep it.
class AppendQueue {
 public:
  // True when `call` may go ahead; false when it was queued and a Leave() will return it.
  bool Enter(Call& call);
  // The call under way is done. The next one, which may go ahead now, or nullptr.
  Call* Leave();

 private:
  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  ItemQueue<WorkItem> waiting_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rdmafs::server
