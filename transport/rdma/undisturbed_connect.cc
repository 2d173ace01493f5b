#include "transport/rdma/undisturbed_connect.h"

#include <signal.h>

#include <cerrno>
#include <thread>

namespace rdmafs::rdma {

int ConnectUndisturbed(rdma_cm_id* id, rdma_conn_param* parameters) {
  sigset_t all, before;
  sigfillset(&all);
  int result = 0, error = 0;
  pthread_sigmask(SIG_SETMASK, &all, &before);  // the thread inherits it
  std::thread thread([&] {
    result = rdma_connect(id, parameters);
    error = errno;
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  thread.join();
  errno = error;
  return result;
}

}  // namespace rdmafs::rdma
