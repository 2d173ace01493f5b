// MemoryWindows: the memory windows of one QP, one for each slot.
#pragma once

#include <infiniband/verbs.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/memory/memory_region_cache.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs::rdma {

// What a BIND_MW work request says. SendQueue posts it, and gives the window its new rkey then.
struct WindowBinding {
  ibv_mw* window = nullptr;  // none: nothing is bound
  ibv_mr* region = nullptr;
  uint64_t address = 0;
  uint64_t size_bytes = 0;
  unsigned access = 0;
  uint32_t rkey = 0;  // the window's from then on
};
// The work request; `next` follows it.
ibv_send_wr BindRequest(const WindowBinding& binding, uint64_t wr_id, ibv_send_wr* next);

// Of type 2: each is bound on its QP alone, and invalidated by a SEND of the peer. Windows have to
// be gone before the memory that they are bound to is deregistered, and before their QP is
// destroyed. Owned by one shard thread.
class MemoryWindows {
 public:
  // `count` windows for a QP of `domain`.
  static absl::StatusOr<std::unique_ptr<MemoryWindows>> Create(ibv_pd& domain, size_t count);

  // Exposes exactly `memory`, registered as `keys`, to exactly `access` (not kLocal) by the window
  // `index`, which must not be bound. Nothing changes unless the binding is posted.
  WindowBinding Bind(size_t index, absl::Span<std::byte> memory, const MemoryKeys& keys,
                     MemoryAccess access) const;

 private:
  MemoryWindows() = default;

  std::vector<WindowPtr> windows_;
};

}  // namespace rdmafs::rdma
