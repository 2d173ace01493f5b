// ConnectUndisturbed: rdma_connect(3), where no signal and no io_uring of the caller's reaches it.
#pragma once

#include <rdma/rdma_cma.h>

namespace rdmafs::rdma {

// As rdma_connect(3): 0, or -1 and errno(3). Soft-iWARP (drivers/infiniband/sw/siw) connects its
// TCP socket within that call, and blocks for as long. Whatever makes the thread look at its
// signals, a completion of its io_uring included, ends that wait, and the kernel begins the call
// anew, from the same port: EADDRNOTAVAIL. Worse, the attempt that was given up can cost the server
// its listening socket (seen on Linux 7.2: connections are refused from then on, and
// siw_destroy_listen warns of its reference count). So the call is made on a thread that has
// neither; the caller's takes its signals as ever.
int ConnectUndisturbed(rdma_cm_id* id, rdma_conn_param* parameters);

}  // namespace rdmafs::rdma
