#include "server/handle_key.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"
#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {
namespace {

absl::Status Failed(const std::string& what, int error) {
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", Errno(error).ToString()));
}

absl::StatusOr<HandleKey> Load(int fd, const std::string& path) {
  struct stat status;
  if (fstat(fd, &status) != 0) return Failed(path, errno);
  if (!S_ISREG(status.st_mode) || (status.st_mode & 077) != 0 || status.st_uid != geteuid()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " must be a file of mode 0600 that belongs to the server's user"));
  }
  HandleKey key;
  if (status.st_size != static_cast<off_t>(key.size()) ||
      pread(fd, key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a key of ", key.size(), " bytes; remove it to get a new one"));
  }
  return key;
}

// Under another name first: a crash leaves no half key, and of two servers one wins.
absl::Status Create(int directory, const std::string& path) {
  const std::string temporary = absl::StrCat("handle.key.", getpid());
  UniqueFd fd(openat(directory, temporary.c_str(),
                     O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return Failed(path, errno);
  const HandleKey key = RandomHandleKey();
  bool written =
      fchmod(fd.get(), 0600) == 0 &&
      write(fd.get(), key.data(), key.size()) == static_cast<ssize_t>(key.size()) &&
      fsync(fd.get()) == 0 &&
      (linkat(directory, temporary.c_str(), directory, "handle.key", 0) == 0 || errno == EEXIST);
  const int error = errno;
  unlinkat(directory, temporary.c_str(), 0);
  return written ? absl::OkStatus() : Failed(path, error);
}

}  // namespace

absl::StatusOr<HandleKey> LoadOrCreateHandleKey(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return Failed(directory, errno);
  UniqueFd directory_fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_fd.valid()) return Failed(directory, errno);
  const std::string path = absl::StrCat(directory, "/handle.key");
  for (bool created : {false, true}) {
    UniqueFd fd(openat(directory_fd.get(), "handle.key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.valid()) return Load(fd.get(), path);
    if (errno != ENOENT || created) return Failed(path, errno);
    if (absl::Status status = Create(directory_fd.get(), path); !status.ok()) return status;
  }
  return Failed(path, ENOENT);
}

HandleKey RandomHandleKey() {
  HandleKey key;
  CHECK(getrandom(key.data(), key.size(), 0) == static_cast<ssize_t>(key.size()));
  return key;
}

}  // namespace rdmafs
