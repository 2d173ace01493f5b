#include "transport/control/control_socket.h"

#include <dirent.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "transport/base/log.h"

namespace rdmafs {
namespace {

// Clients beyond max_clients wait here; more than that are refused by the kernel.
constexpr int kBacklog = 16;

UniqueFd MakeSocket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

absl::Status Failure(const std::string& path, int error) {
  return absl::UnavailableError(
      absl::StrCat("control socket ", path, ": ", Errno(error).ToString()));
}

// Removes the socket at `address` when its owner is gone. An errno(3) value when it may not be
// removed.
int RemoveStale(const sockaddr_un& address) {
  struct stat status;
  if (::lstat(address.sun_path, &status) != 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISSOCK(status.st_mode)) return EEXIST;
  UniqueFd probe = MakeSocket();
  if (!probe.valid()) return errno;
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED) {
    return EADDRINUSE;
  }
  return ::unlink(address.sun_path) == 0 || errno == ENOENT ? 0 : errno;
}

int Bind(int fd, const sockaddr_un& address) {
  // On Linux the mode of the socket's own inode is that of the path that bind(2) makes: no moment
  // with a wider one, and no umask(2), which other threads would feel.
  if (::fchmod(fd, 0600) != 0) return errno;
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd, generic, sizeof address) == 0) return 0;
  if (errno != EADDRINUSE) return errno;
  if (int error = RemoveStale(address); error != 0) return error;
  return ::bind(fd, generic, sizeof address) == 0 ? 0 : errno;
}

// Removes what programs of this name that were killed have left beside `path`,
// "DIRECTORY/NAME.PID". Who looks for the living would have to ask them all.
void RemoveStaleBeside(const std::string& path) {
  const size_t name = path.rfind('/') + 1, number = path.rfind('.') + 1;
  if (name == 0 || number <= name) return;
  const std::string_view prefix = std::string_view(path).substr(name, number - name);
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.substr(0, name).c_str()),
                                                &::closedir);
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string_view other = entry->d_name;
    if (!other.starts_with(prefix)) continue;
    pid_t pid = 0;
    const char* const end = other.data() + other.size();
    const auto [parsed, error] = std::from_chars(other.data() + prefix.size(), end, pid);
    if (error != std::errc() || parsed != end || pid <= 0) continue;
    if (::kill(pid, 0) == 0 || errno != ESRCH) continue;
    // It may live in another PID namespace: then it listens.
    const std::string stale = absl::StrCat(path.substr(0, name), entry->d_name);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (stale.size() >= sizeof address.sun_path) continue;
    std::memcpy(address.sun_path, stale.data(), stale.size());
    (void)RemoveStale(address);
  }
}

}  // namespace

struct ControlSocket::Client {
  UniqueFd fd;
  EventLoop::TimerId timer = 0;
  std::string request;
  std::string answer;
  size_t sent = 0;
  bool answering = false;
};

absl::StatusOr<std::unique_ptr<ControlSocket>> ControlSocket::Listen(EventLoop& loop,
                                                                     std::string path,
                                                                     Answer answer,
                                                                     Options options) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(
        absl::StrCat("control socket path \"", path, "\" is too long or empty"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd = MakeSocket();
  if (!fd.valid()) return Failure(path, errno);
  if (int error = Bind(fd.get(), address); error != 0) return Failure(path, error);
  if (::listen(fd.get(), kBacklog) != 0) return Failure(path, errno);
  RemoveStaleBeside(path);
  std::unique_ptr<ControlSocket> control(
      new ControlSocket(loop, std::move(path), std::move(answer), options, std::move(fd)));
  Errno error = loop.Add(control->listening_.get(), EPOLLIN,
                         [self = control.get()](uint32_t) { self->OnAcceptable(); });
  if (!error.ok()) return Failure(control->path_, error.value());
  return control;
}

ControlSocket::ControlSocket(EventLoop& loop, std::string path, Answer answer, Options options,
                             UniqueFd listening)
    : loop_(loop),
      path_(std::move(path)),
      answer_(std::move(answer)),
      options_(options),
      listening_(std::move(listening)) {
  struct stat status;
  if (::lstat(path_.c_str(), &status) == 0) {
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }
}

ControlSocket::~ControlSocket() {
  loop_.Cancel(retry_);
  loop_.Remove(listening_.get());
  while (!clients_.empty()) Drop(clients_.begin());
  struct stat status;
  if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

void ControlSocket::OnAcceptable() {
  while (clients_.size() < options_.max_clients) {
    UniqueFd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      // Out of descriptors: the client stays in the backlog, and looking again at once would spin.
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) break;
      return;
    }
    auto client = clients_.emplace(clients_.end());
    client->fd = std::move(fd);
    client->timer = loop_.After(options_.patience, [this, client] { Drop(client); });
    Errno error = loop_.Add(client->fd.get(), EPOLLIN,
                            [this, client](uint32_t) { OnClient(client); });
    if (!error.ok()) Drop(client);
  }
  // Level-triggered: what waits in the backlog would wake the loop again and again.
  accepting_ = false;
  (void)loop_.Modify(listening_.get(), 0);
  // With no client whose end would resume it (out of descriptors): try again after a while.
  if (clients_.empty()) retry_ = loop_.After(options_.patience, [this] { ResumeAccepting(); });
}

void ControlSocket::OnClient(ClientList::iterator client) {
  const bool keep = client->answering ? WriteAnswer(*client) : ReadRequest(*client);
  if (!keep) Drop(client);
}

// False when the client is done with.
bool ControlSocket::ReadRequest(Client& client) {
  char bytes[256];
  const ssize_t size = ::recv(client.fd.get(), bytes, sizeof bytes, 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  client.request.append(bytes, static_cast<size_t>(size));
  const size_t line = client.request.find('\n');
  if (line == std::string::npos) return client.request.size() <= options_.max_request_bytes;
  if (line > options_.max_request_bytes) return false;
  std::string_view command(client.request.data(), line);
  if (!command.empty() && command.back() == '\r') command.remove_suffix(1);
  client.answer = answer_(command);
  client.answer.push_back('\n');
  client.answering = true;
  return WriteAnswer(client);
}

// False when the client is done with.
bool ControlSocket::WriteAnswer(Client& client) {
  while (client.sent < client.answer.size()) {
    const ssize_t size = ::send(client.fd.get(), client.answer.data() + client.sent,
                                client.answer.size() - client.sent, MSG_NOSIGNAL);
    if (size < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN && loop_.Modify(client.fd.get(), EPOLLOUT).ok();
    }
    client.sent += static_cast<size_t>(size);
  }
  return false;
}

void ControlSocket::Drop(ClientList::iterator client) {
  loop_.Cancel(client->timer);
  loop_.Remove(client->fd.get());
  clients_.erase(client);
  ResumeAccepting();
}

void ControlSocket::ResumeAccepting() {
  if (accepting_) return;
  accepting_ = true;
  (void)loop_.Modify(listening_.get(), EPOLLIN);
}

}  // namespace rdmafs
