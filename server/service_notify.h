// ServiceNotify: says to systemd how the service stands, as sd_notify(3) does.
#pragma once

#include <string>
#include <string_view>

namespace rdmafs::server {

// The datagrams of the protocol, without the library: nothing is sent when $NOTIFY_SOCKET is not
// set. Owned by one thread.
class ServiceNotify {
 public:
  // Reads the environment; call it before threads exist.
  ServiceNotify();

  void Ready() { Send("READY=1"); }
  void Stopping() { Send("STOPPING=1"); }
  // Followed by Ready() when that is done.
  void Reloading();

 private:
  void Send(std::string_view state);

  std::string socket_path_;
};

}  // namespace rdmafs::server
