#include "transport/control/control_path.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"

namespace rdmafs {

absl::StatusOr<std::string> MakeControlPath(std::string directory, std::string_view program) {
  if (directory.empty()) directory = RunDirectory();
  if (directory.empty()) {
    return absl::NotFoundError("no directory for the control socket: XDG_RUNTIME_DIR is not set");
  }
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return absl::UnavailableError(
        absl::StrCat("cannot make ", directory, ": ", Errno(errno).ToString()));
  }
  return absl::StrCat(directory, "/", std::string(program), ".", ::getpid());
}

std::string RunDirectory() {
  if (::geteuid() == 0) return std::string(kSystemRunDirectory);
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime == nullptr || *runtime != '/') return "";
  return absl::StrCat(runtime, "/rdmafs");
}

}  // namespace rdmafs
