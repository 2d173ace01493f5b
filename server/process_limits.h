// What a process that serves files sets for itself once, at start.
#pragma once

#include <cstddef>

namespace rdmafs {

// Open files as many as may be (RLIMIT_NOFILE's hard limit), files as large as may be
// (RLIMIT_FSIZE), and a write beyond that is an error, not a signal. Returns how many descriptors
// there can be. Before threads exist.
size_t PrepareProcessToServeFiles();

}  // namespace rdmafs
