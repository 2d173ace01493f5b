// TlsSocket: the socket as libssl sees it: its records gathered into few system calls.
#pragma once

#include <openssl/bio.h>

#include <memory>

#include "transport/tcp/staging.h"

namespace rdmafs {

// Owned by one thread. Has a block of the pool only while records wait in it.
class TlsSocket {
 public:
  // `fd` is non-blocking, and outlives this and the BIO.
  TlsSocket(int fd, std::shared_ptr<StagingPool> pool);
  ~TlsSocket();
  TlsSocket(const TlsSocket&) = delete;
  TlsSocket& operator=(const TlsSocket&) = delete;

  // A BIO over this, for SSL_set_bio(3). The caller's.
  BIO* NewBio();

  // Sends what waits; false when some of it still does.
  bool Flush();
  bool holds_output() const { return first_ != end_; }
  // errno of the call that failed last, 0: none did.
  int error() const { return error_; }
  bool ended() const { return ended_; }
  bool received() const { return received_; }

  // BIO_METHOD's.
  ssize_t Receive(char* to, size_t size);
  ssize_t Send(const char* from, size_t size);

 private:
  const int fd_;
  const std::shared_ptr<StagingPool> pool_;
  StagingPool::Block block_;
  size_t first_ = 0, end_ = 0;  // of block_'s bytes, to be sent
  int error_ = 0;
  bool ended_ = false;     // the peer sends no more
  bool received_ = false;  // something
};

}  // namespace rdmafs
