#include "ctl/control_client.h"

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"
#include "transport/base/unique_fd.h"
#include "transport/control/control_path.h"

namespace rdmafs {
namespace {

constexpr size_t kMaxSockets = 4096;
constexpr size_t kMaxAnswerBytes = size_t{16} << 20;

absl::Status Failure(const std::string& path, int error) {
  const std::string text = absl::StrCat(path, ": ", Errno(error).ToString());
  if (error == ENOENT || error == ECONNREFUSED || error == ENOTSOCK)
    return absl::NotFoundError(text);
  return absl::UnavailableError(text);
}

absl::StatusOr<UniqueFd> ConnectTo(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Failure(path, ENAMETOOLONG);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  // Non-blocking: connect(2) to a socket whose backlog is full would wait for ever.
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return Failure(path, errno);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Failure(path, errno);
  }
  return fd;
}

// Reads to the end of the stream.
absl::StatusOr<std::string> ReadAnswer(const UniqueFd& fd, const std::string& path,
                                       Nanoseconds deadline) {
  const MonotonicClock clock;
  std::string answer;
  char bytes[16384];
  for (;;) {
    const Nanoseconds left = deadline - clock.Now();
    if (left <= 0) return absl::DeadlineExceededError(absl::StrCat(path, ": no answer in time"));
    pollfd ready{fd.get(), POLLIN, 0};
    ::poll(&ready, 1, static_cast<int>(left / kMillisecond) + 1);
    const ssize_t n = ::recv(fd.get(), bytes, sizeof bytes, 0);
    if (n == 0) return answer;
    if (n < 0 && errno != EAGAIN && errno != EINTR) return Failure(path, errno);
    if (n > 0) answer.append(bytes, static_cast<size_t>(n));
    if (answer.size() > kMaxAnswerBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(path, ": the answer is too long"));
    }
  }
}

}  // namespace

std::vector<std::string> ControlDirectories() {
  std::vector<std::string> directories{std::string(kSystemRunDirectory)};
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && *runtime == '/')
    directories.push_back(absl::StrCat(runtime, "/rdmafs"));
  return directories;
}

std::vector<std::string> FindControlSockets(const std::vector<std::string>& directories) {
  std::vector<std::string> sockets;
  for (const std::string& directory : directories) {
    std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(directory.c_str()), &::closedir);
    if (stream == nullptr) continue;
    while (const dirent* entry = ::readdir(stream.get())) {
      if (entry->d_type != DT_SOCK || sockets.size() == kMaxSockets) continue;
      sockets.push_back(absl::StrCat(directory, "/", entry->d_name));
    }
  }
  std::sort(sockets.begin(), sockets.end());
  return sockets;
}

absl::StatusOr<std::string> AskControlSocket(const std::string& path, const std::string& command,
                                             Nanoseconds patience) {
  const Nanoseconds deadline = MonotonicClock().Now() + patience;
  absl::StatusOr<UniqueFd> fd = ConnectTo(path);
  if (!fd.ok()) return fd.status();
  const std::string line = command + "\n";
  // A fresh socket's buffer has room for a line; a partial send would be a kernel out of memory.
  if (::send(fd->get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    return Failure(path, errno == 0 ? EIO : errno);
  }
  return ReadAnswer(*fd, path, deadline);
}

}  // namespace rdmafs
