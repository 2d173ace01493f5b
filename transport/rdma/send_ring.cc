#include "transport/rdma/send_ring.h"

#include "transport/base/check.h"

namespace rdmafs::rdma {
namespace {

// Headers start on a cache line of their own.
constexpr size_t kAlignment = 64;

}  // namespace

SendRing::Space SendRing::Take(size_t size) {
  CHECK(Fits(size));
  if (offset_ + size > blocks_[0].buffer.size()) {
    ++current_;
    offset_ = 0;
  }
  const Block& block = blocks_[current_ % blocks_.size()];
  Space space{block.buffer.data() + offset_, block.lkey};
  offset_ += (size + kAlignment - 1) & ~(kAlignment - 1);
  return space;
}

}  // namespace rdmafs::rdma
