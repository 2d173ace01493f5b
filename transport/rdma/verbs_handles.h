// Owners of rdma_cm and verbs objects. A member that uses another stands behind it in its class, so
// that it is destroyed first.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <memory>

namespace rdmafs::rdma {

template <auto kDestroy>
struct DestroyWith {
  template <typename T>
  void operator()(T* object) const {
    kDestroy(object);
  }
};

using EventChannelPtr =
    std::unique_ptr<rdma_event_channel, DestroyWith<rdma_destroy_event_channel>>;
using CmIdPtr = std::unique_ptr<rdma_cm_id, DestroyWith<rdma_destroy_id>>;
using DomainPtr = std::unique_ptr<ibv_pd, DestroyWith<ibv_dealloc_pd>>;
using CompletionChannelPtr =
    std::unique_ptr<ibv_comp_channel, DestroyWith<ibv_destroy_comp_channel>>;
using RegionPtr = std::unique_ptr<ibv_mr, DestroyWith<ibv_dereg_mr>>;
struct DeallocateWindow {  // ibv_dealloc_mw(3) is no function to name as an argument: it is inline
  void operator()(ibv_mw* window) const { ibv_dealloc_mw(window); }
};
using WindowPtr = std::unique_ptr<ibv_mw, DeallocateWindow>;
using CqPtr = std::unique_ptr<ibv_cq, DestroyWith<ibv_destroy_cq>>;

}  // namespace rdmafs::rdma
