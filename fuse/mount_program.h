// The mount program after its command line: from going to the background to the end of the mount.
#pragma once

#include <functional>
#include <memory>

#include "fuse/file_system_source.h"
#include "fuse/mount_options.h"
#include "transport/base/clock.h"
#include "transport/memory/arena.h"

namespace rdmafs::fuse {

// Makes the source, after the last fork. `arena` and `clock` outlive it.
using SourceFactory = std::function<std::unique_ptr<FileSystemSource>(
    const MountOptions&, Arena& arena, const Clock& clock)>;

// Mounts, serves until unmounted or told to end by SIGTERM, SIGINT or SIGHUP. Returns the exit
// status. To be called before any thread exists; in the background the process that called it exits
// inside.
int RunMount(const MountOptions& options, const SourceFactory& make_source);

// Parses, then RunMount: what a main() calls.
int RunMountProgram(int argc, char** argv, const SourceFactory& make_source);

}  // namespace rdmafs::fuse
