// RemoteSource: puts a mount's file system together: transports, client, and the layers above them.
#pragma once

#include <memory>

#include "client/client.h"
#include "client/stack.h"
#include "fuse/file_system_source.h"
#include "fuse/mount_options.h"
#include "transport/memory/arena.h"

namespace rdmafs::fuse {

// See FileSystemSource. `arena` and `clock` outlive it.
class RemoteSource final : public FileSystemSource {
 public:
  RemoteSource(const MountOptions& options, Arena& arena, const Clock& clock);
  ~RemoteSource() override;

  absl::StatusOr<Attached> Connect(absl::Span<const ShardParts> shards) override;
  FileSystem& file_system(size_t shard) override { return stacks_[shard]->top(); }
  void Shutdown() override;
  bool uses_sockets() const override { return client_->status().transport != "rdma"; }
  bool IsLost() const override { return client_ != nullptr && client_->IsLost(); }
  void Describe(ProgramStatus& status) const override;

 private:
  void BuildStacks(absl::Span<const ShardParts> shards);

  const MountOptions options_;
  BufferPool messages_;
  const TransportResources resources_;
  std::unique_ptr<Transport> tcp_;
  std::unique_ptr<Transport> rdma_;  // null when it is not wanted
  std::unique_ptr<Connector> connector_;
  std::unique_ptr<Client> client_;

  // Set by Connect(), constant until Shutdown().
  Nanoseconds round_trip_ = 0;
  InodeVersions versions_;
  std::unique_ptr<ReadAheadFiles> read_ahead_files_;
  std::vector<EventLoop*> loops_;
  std::vector<std::unique_ptr<Stack>> stacks_;  // a shard's each, destroyed on its thread
};

}  // namespace rdmafs::fuse
