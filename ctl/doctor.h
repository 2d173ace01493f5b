// Doctor: what a host lacks to mount and to serve, and how to get it.
#pragma once

#include <string>
#include <vector>

#include "ctl/host.h"

namespace rdmafs {

struct Finding {
  enum class Level {
    kFine,
    kAdvice,   // works without it, only slower, narrower or not over RDMA
    kMissing,  // something does not work until it is mended
  };
  Level level = Level::kFine;
  std::string topic;   // "fuse-device"; does not change between versions
  std::string text;    // what was found
  std::string remedy;  // what to do; "" when fine
};

// Looks at everything. `require_rdma`: what RDMA needs counts as missing, not as advice, even where
// there is no RDMA device.
std::vector<Finding> Examine(const Host& host, bool require_rdma);

// The part of Examine() that is about RDMA (doctor_rdma.cc).
std::vector<Finding> ExamineRdma(const Host& host, bool require_rdma);

// Whether none of `findings` is kMissing.
bool AllFine(const std::vector<Finding>& findings);

}  // namespace rdmafs
