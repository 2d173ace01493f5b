// Daemon: goes into the background, and lets the shell wait until the service is there.
#pragma once

#include "transport/base/unique_fd.h"

namespace rdmafs::server {

// Used by main() only, before any thread and before any call to a library that cannot be forked.
class Daemon {
 public:
  // Forks. The child returns, in a session of its own, its standard error still the shell's; the
  // parent waits until the child calls Ready() or ends, and exits with 0 or 1.
  static Daemon Fork();
  // Not forked: Ready() does nothing.
  Daemon() = default;

  // Lets the parent go; standard input, output and error become /dev/null.
  void Ready();

 private:
  UniqueFd parent_;
};

}  // namespace rdmafs::server
