#include "transport/rdma/memory_windows.h"

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"
#include "transport/base/errno.h"

namespace rdmafs::rdma {

absl::StatusOr<std::unique_ptr<MemoryWindows>> MemoryWindows::Create(ibv_pd& domain, size_t count) {
  std::unique_ptr<MemoryWindows> made(new MemoryWindows());
  made->windows_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    made->windows_.emplace_back(ibv_alloc_mw(&domain, IBV_MW_TYPE_2));
    if (made->windows_.back() == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(
          "only ", i, " of ", count, " memory windows: ibv_alloc_mw: ", Errno(errno).ToString()));
    }
  }
  return made;
}

WindowBinding MemoryWindows::Bind(size_t index, absl::Span<std::byte> memory,
                                  const MemoryKeys& keys, MemoryAccess access) const {
  DCHECK(access != MemoryAccess::kLocal);
  ibv_mw* window = windows_.at(index).get();
  return {.window = window,
          .region = static_cast<ibv_mr*>(keys.region),
          .address = reinterpret_cast<uintptr_t>(memory.data()),
          .size_bytes = memory.size(),
          .access = access == MemoryAccess::kRemoteWrite ? unsigned{IBV_ACCESS_REMOTE_WRITE}
                                                         : unsigned{IBV_ACCESS_REMOTE_READ},
          .rkey = ibv_inc_rkey(window->rkey)};
}

ibv_send_wr BindRequest(const WindowBinding& binding, uint64_t wr_id, ibv_send_wr* next) {
  ibv_send_wr wr{};
  wr.wr_id = wr_id;
  wr.next = next;
  wr.opcode = IBV_WR_BIND_MW;
  wr.bind_mw.mw = binding.window;
  wr.bind_mw.rkey = binding.rkey;
  wr.bind_mw.bind_info = {.mr = binding.region,
                          .addr = binding.address,
                          .length = binding.size_bytes,
                          .mw_access_flags = binding.access};
  return wr;
}

}  // namespace rdmafs::rdma
