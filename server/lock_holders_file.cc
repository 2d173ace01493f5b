#include "server/lock_holders_file.h"

#include <fcntl.h>
#include <unistd.h>

namespace rdmafs::server {

LockHoldersFile::LockHoldersFile(const std::string& path)
    : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) {
  uint64_t holders = 0;
  if (fd_.valid() && pread(fd_.get(), &holders, sizeof holders, 0) == sizeof holders)
    at_start_ = holders;
}

void LockHoldersFile::Store(uint64_t holders) const {
  if (!fd_.valid()) return;
  [[maybe_unused]] const ssize_t written = pwrite(fd_.get(), &holders, sizeof holders, 0);
}

}  // namespace rdmafs::server
