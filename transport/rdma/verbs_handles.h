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
using CqPtr = std::unique_ptr<ibv_cq, DestroyWith<ibv_destroy_cq>>;

}  // namespace rdmafs::rdma
