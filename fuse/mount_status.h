// What a mount tells about itself through its control socket.
#pragma once

#include <memory>
#include <vector>

#include "fuse/file_system_source.h"
#include "fuse/mount_options.h"
#include "fuse/shard.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// Thread-safe towards the running shards.
// `settings`: as agreed with the kernel.
ProgramStatus DescribeMount(const MountOptions& options, const Settings& settings,
                            const std::vector<std::unique_ptr<Shard>>& shards,
                            const std::vector<std::unique_ptr<BufferPool>>& pools,
                            const FileSystemSource& source, Nanoseconds uptime);

}  // namespace rdmafs::fuse
