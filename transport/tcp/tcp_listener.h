// TcpListener: accepts connections on one listening socket.
#pragma once

#include <memory>
#include <string>

#include "transport/base/unique_fd.h"
#include "transport/connection.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/staging.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {

// Owned by its loop's thread. When the process has no descriptor left it stops accepting for a
// moment (the peers wait in the backlog) instead of spinning on a socket that stays readable.
class TcpListener final : public Listener {
 public:
  TcpListener(UniqueFd socket, EventLoop& loop, Transport::AcceptFunction accept, uint16_t credits,
              std::shared_ptr<StagingPool> pool, TlsSource tls = nullptr);
  ~TcpListener() override;

  // Begins to accept. Called once, by any thread while the loop's does not touch the listener.
  Errno Start();

  std::string address() const override { return address_; }
  uint16_t port() const override { return port_; }

 private:
  void OnReadable();
  std::unique_ptr<ByteStream> NewStream(int fd) const;
  void Pause(int error);
  void Resume();

  EventLoop& loop_;
  const Transport::AcceptFunction accept_;
  const uint16_t credits_;
  const std::shared_ptr<StagingPool> pool_;
  const TlsSource tls_;
  const UniqueFd socket_;
  const std::string address_;
  const uint16_t port_;

  // Loop thread only.
  EventLoop::TimerId pause_timer_ = 0;
  bool shortage_logged_ = false;
  std::shared_ptr<bool> alive_ =
      std::make_shared<bool>(true);  // false once destroyed, maybe by accept_
};

}  // namespace rdmafs
