// FUSE_INIT: what is agreed with the kernel when the mount begins.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fuse/abi.h"
#include "fuse/settings.h"

namespace rdmafs::fuse {

// The answer to the kernel's offer: of what it offers, all that we implement. An error when the
// kernel's protocol is too old.
absl::StatusOr<fuse_init_out> Negotiate(const fuse_init_in& offer, const Settings& settings);

// Waits for the kernel's INIT on the device `fd` of a new mount, and answers it. Blocks until
// `deadline` at most (CLOCK_MONOTONIC). Sets in `settings` what the kernel can: writeback,
// direct_io_allows_mmap, over_io_uring.
absl::Status AnswerInit(int fd, Settings& settings, Nanoseconds deadline);

}  // namespace rdmafs::fuse
