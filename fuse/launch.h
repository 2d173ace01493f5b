// Launch: going to the background, with a verdict for whoever started the program.
#pragma once

#include "absl/status/status.h"
#include "transport/base/clock.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {

// The background process's side. Owned by its main thread.
class Launch {
 public:
  // Forks unless `foreground`, before any thread exists. The process that was started waits for the
  // verdict, `patience` at most, and exits: 0 when it was good, else 1 and one line on standard
  // error. Only the background process (or the one, in the foreground) returns from here.
  static Launch Begin(bool foreground, Nanoseconds patience);

  // Gives the verdict, once. False when nobody waits for it any more: then there should be no
  // mount. A good one in the background also lets go of the terminal.
  bool Report(const absl::Status& verdict);

 private:
  Launch() = default;
  bool foreground_ = true;
  UniqueFd pipe_;
};

}  // namespace rdmafs::fuse
