#include "server/process_limits.h"

#include <sys/resource.h>

#include <csignal>

namespace rdmafs {
namespace {

// To the hard limit; what is left of a limit that cannot be raised is what there is.
rlim_t Raise(__rlimit_resource resource) {
  rlimit limit;
  if (getrlimit(resource, &limit) != 0) return 0;
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(resource, &limit) == 0 ? limit.rlim_max : before;
}

}  // namespace

size_t PrepareProcessToServeFiles() {
  std::signal(SIGXFSZ, SIG_IGN);
  Raise(RLIMIT_FSIZE);
  return Raise(RLIMIT_NOFILE);
}

}  // namespace rdmafs
