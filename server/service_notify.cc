#include "server/service_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::server {

ServiceNotify::ServiceNotify() {
  if (const char* path = std::getenv("NOTIFY_SOCKET")) socket_path_ = path;
}

void ServiceNotify::Reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  Send(absl::StrCat("RELOADING=1\nMONOTONIC_USEC=", now.tv_sec * 1000000 + now.tv_nsec / 1000));
}

void ServiceNotify::Send(std::string_view state) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() < 2 || socket_path_.size() >= sizeof address.sun_path) return;
  if (socket_path_[0] != '/' && socket_path_[0] != '@') return;
  std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // unix(7): an abstract name
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path_.size());
  // systemd that does not listen is not the server's failure.
  [[maybe_unused]] ssize_t sent =
      sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
             reinterpret_cast<const sockaddr*>(&address), size);
}

}  // namespace rdmafs::server
