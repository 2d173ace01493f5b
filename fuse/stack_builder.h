// RemoteSource: puts a mount's file system together: transports, client, and the layers above them.
#pragma once

#include <memory>

#include "client/client.h"
#include "fuse/file_system_source.h"
#include "fuse/mount_options.h"
#include "transport/memory/arena.h"

namespace rdmafs::fuse {

// See FileSystemSource. `arena` and `clock` outlive it.
class RemoteSource final : public FileSystemSource {
 public:
  RemoteSource(const MountOptions& options, Arena& arena, const Clock& clock);
  ~RemoteSource() override;

  absl::StatusOr<Attached> Connect(absl::Span<EventLoop* const> loops) override;
  FileSystem& file_system(size_t shard) override { return client_->file_system(shard); }
  void Shutdown() override;
  bool IsLost() const override { return client_ != nullptr && client_->IsLost(); }
  void Describe(ProgramStatus& status) const override;

 private:
  const MountOptions options_;
  BufferPool messages_;
  const TransportResources resources_;
  std::unique_ptr<Transport> tcp_;
  std::unique_ptr<Transport> rdma_;  // null when it is not wanted
  std::unique_ptr<Connector> connector_;
  std::unique_ptr<Client> client_;
};

}  // namespace rdmafs::fuse
