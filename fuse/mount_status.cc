#include "fuse/mount_status.h"

#include "absl/strings/str_cat.h"
#include "fuse/dispatcher.h"

namespace rdmafs::fuse {
namespace {

void Add(BufferPool::Statistics& sum, const BufferPool::Statistics& pool) {
  sum.block_count += pool.block_count;
  sum.used_count += pool.used_count;
  sum.used_count_peak += pool.used_count_peak;
  sum.empty_count += pool.empty_count;
  sum.size_bytes += pool.size_bytes;
  sum.cap_bytes += pool.cap_bytes;
}

}  // namespace

ProgramStatus DescribeMount(const MountOptions& options, const Settings& settings,
                            const std::vector<std::unique_ptr<Shard>>& shards,
                            const std::vector<std::unique_ptr<BufferPool>>& pools,
                            const FileSystemSource& source, Nanoseconds uptime) {
  ProgramStatus status;
  status.program = "rdmafs";
  status.state = "ready";
  status.uptime = uptime;
  status.source = options.source;
  status.mount_point = options.mount_point;
  status.channel = settings.over_io_uring ? "fuse-io-uring" : "fuse-device";
  status.counters["shards"] = shards.size();
  BufferPool::Statistics& pool = status.pools["payload"];
  pool = {};
  for (const auto& each : pools) Add(pool, each->statistics());
  for (const auto& shard : shards) {
    for (uint32_t opcode = 0; opcode < kMaxOpcode; ++opcode) {
      const char* name = OpcodeName(opcode);
      shard->statistics().AddTo(
          opcode, status.operations[name != nullptr ? name : absl::StrCat("OPCODE_", opcode)]);
    }
  }
  source.Describe(status);
  for (const auto& shard : shards) status.transport.copied_bytes += shard->copied_bytes();
  return status;
}

}  // namespace rdmafs::fuse
