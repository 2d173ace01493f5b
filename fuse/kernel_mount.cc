#define FUSE_USE_VERSION 314
#include "fuse/kernel_mount.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::fuse {
namespace {

// While it lives, what libfuse and fusermount3 write to standard error is kept, to be told in one
// line.
class CapturedStandardError {
 public:
  CapturedStandardError()
      : memory_(::memfd_create("stderr", MFD_CLOEXEC)),
        saved_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)) {
    if (memory_.valid() && saved_.valid()) ::dup2(memory_.get(), STDERR_FILENO);
  }
  ~CapturedStandardError() { Restore(); }

  // Its lines, joined.
  std::string Take() {
    Restore();
    char text[1024];
    const ssize_t n = memory_.valid() ? ::pread(memory_.get(), text, sizeof text, 0) : 0;
    std::string all(text, n > 0 ? static_cast<size_t>(n) : 0);
    absl::StripAsciiWhitespace(&all);
    return absl::StrReplaceAll(all, {{"\n", "; "}});
  }

 private:
  void Restore() {
    if (saved_.valid()) ::dup2(saved_.get(), STDERR_FILENO);
    saved_.reset();
  }
  UniqueFd memory_;
  UniqueFd saved_;
};

// libfuse splits options at commas; an option that has one of its own escapes it.
std::string Escape(const std::string& option) {
  return absl::StrReplaceAll(option, {{"\\", "\\\\"}, {",", "\\,"}});
}

bool AllowedForUsers(const std::string& option) { return option != "suid" && option != "dev"; }

}  // namespace

absl::Status CheckMountPoint(const std::string& path) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    const std::string hint = errno == ENOTCONN ? " (a dead mount is there; umount it first)" : "";
    return absl::InvalidArgumentError(
        absl::StrCat("mount point ", path, ": ", std::strerror(errno), hint));
  }
  if (!S_ISDIR(status.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("mount point ", path, " is not a directory"));
  }
  if (::geteuid() != 0 && ::access(path.c_str(), W_OK) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("mount point ", path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<KernelMount>> KernelMount::Mount(
    const std::string& mount_point, absl::Span<const std::string> options) {
  std::vector<std::string> words = {"rdmafs"};
  for (const std::string& option : options) {
    if (::geteuid() == 0 || AllowedForUsers(option))
      words.push_back(absl::StrCat("-o", Escape(option)));
  }
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  fuse_args args{static_cast<int>(argv.size()), argv.data(), 0};

  CapturedStandardError captured;
  // The operations are never called: libfuse only mounts.
  const fuse_lowlevel_ops operations{};
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, nullptr);
  fuse_opt_free_args(&args);
  if (session == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("cannot mount: ", captured.Take()));
  }
  if (fuse_session_mount(session, mount_point.c_str()) != 0) {
    const std::string why = captured.Take();
    fuse_session_destroy(session);
    return absl::UnavailableError(
        absl::StrCat("cannot mount on ", mount_point, ": ", why.empty() ? "libfuse failed" : why));
  }
  return std::unique_ptr<KernelMount>(new KernelMount(session));
}

KernelMount::~KernelMount() {
  Unmount();
  fuse_session_destroy(session_);
}

absl::StatusOr<int> KernelMount::DuplicateDevice() const {
  const int fd = ::fcntl(fuse_session_fd(session_), F_DUPFD_CLOEXEC, 3);
  if (fd < 0)
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot duplicate the device: ", std::strerror(errno)));
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

void KernelMount::Unmount() {
  if (mounted_) fuse_session_unmount(session_);
  mounted_ = false;
}

}  // namespace rdmafs::fuse
