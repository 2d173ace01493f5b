#include "server/lock_holders_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <type_traits>

#include "server/limits.h"

namespace rdmafs::server {
namespace {

static_assert(std::has_unique_object_representations_v<LockHolder>);
constexpr size_t kMaxRows = kMaxSessions;

off_t OffsetOf(size_t row) { return static_cast<off_t>(row * sizeof(LockHolder)); }

}  // namespace

LockHoldersFile::LockHoldersFile(const std::string& path)
    : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)) {
  if (!fd_.valid()) return;
  LockHolder holder;
  while (at_start_.size() < kMaxRows &&
         pread(fd_.get(), &holder, sizeof holder, OffsetOf(at_start_.size())) == sizeof holder) {
    at_start_.push_back(holder);
  }
}

void LockHoldersFile::Store(size_t row, const LockHolder& holder) const {
  if (!fd_.valid() || row >= kMaxRows) return;
  [[maybe_unused]] const ssize_t written = pwrite(fd_.get(), &holder, sizeof holder, OffsetOf(row));
}

}  // namespace rdmafs::server
