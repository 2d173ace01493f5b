// rdmafs: mounts a directory of another host over RDMA or TCP.
#include "fuse/mount_program.h"
#include "fuse/stack_builder.h"
#include "transport/base/check.h"

int main(int argc, char** argv) {
  using namespace rdmafs;
  ChooseMutexChecks();
  return fuse::RunMountProgram(
      argc, argv, [](const fuse::MountOptions& options, Arena& arena, const Clock& clock) {
        return std::make_unique<fuse::RemoteSource>(options, arena, clock);
      });
}
