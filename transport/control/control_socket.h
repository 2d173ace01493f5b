// ControlSocket: answers one-line questions about a running program on a unix stream socket.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "transport/base/event_loop.h"
#include "transport/base/unique_fd.h"

namespace rdmafs {

// A client sends one line ("status\n"), gets the answer, and the connection is closed. Never blocks
// its loop: a client has `patience` to send and to read, then it is cut off; while max_clients are
// being served, others wait in the socket's backlog. Owned by its loop's thread.
class ControlSocket {
 public:
  // Makes the answer, one JSON document. Called on the loop's thread; must not block and must not
  // destroy this socket.
  using Answer = std::function<std::string(std::string_view command)>;
  struct Options {
    size_t max_clients = 16;
    size_t max_request_bytes = 256;
    Nanoseconds patience = 5 * kSecond;
  };

  // Listens on `path`, mode 0600. A socket there that nobody listens on any more is replaced; one
  // that is in use, or anything but a socket, is left alone: an error. Where `path` ends in ".PID",
  // sockets beside it of the same name whose process is gone are removed. Blocks on the file system
  // only.
  static absl::StatusOr<std::unique_ptr<ControlSocket>> Listen(EventLoop& loop, std::string path,
                                                               Answer answer) {
    return Listen(loop, std::move(path), std::move(answer), Options{});
  }
  static absl::StatusOr<std::unique_ptr<ControlSocket>> Listen(EventLoop& loop, std::string path,
                                                               Answer answer, Options options);
  // Cuts off whoever is being served and removes the path, if it is still ours.
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

  const std::string& path() const { return path_; }
  size_t client_count() const { return clients_.size(); }

 private:
  struct Client;
  using ClientList = std::list<Client>;

  ControlSocket(EventLoop& loop, std::string path, Answer answer, Options options,
                UniqueFd listening);
  void OnAcceptable();
  void OnClient(ClientList::iterator client);
  bool ReadRequest(Client& client);
  bool WriteAnswer(Client& client);
  void Drop(ClientList::iterator client);
  void ResumeAccepting();

  EventLoop& loop_;
  const std::string path_;
  const Answer answer_;
  const Options options_;
  const UniqueFd listening_;
  dev_t device_ = 0;
  ino_t inode_ = 0;

  // Loop thread only.
  ClientList clients_;
  bool accepting_ = true;
  EventLoop::TimerId retry_ = 0;
};

}  // namespace rdmafs
