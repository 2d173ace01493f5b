#include "transport/tcp/tls_socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

bool WouldBlock(ssize_t result) { return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); }

TlsSocket& SocketOf(BIO* bio) { return *static_cast<TlsSocket*>(BIO_get_data(bio)); }

int BioRead(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t got = SocketOf(bio).Receive(to, static_cast<size_t>(size));
  if (WouldBlock(got)) BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

int BioWrite(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t taken = SocketOf(bio).Send(from, static_cast<size_t>(size));
  if (WouldBlock(taken)) BIO_set_retry_write(bio);
  return static_cast<int>(taken);
}

long BioControl(BIO* bio, int command, long, void*) {
  // What waits is sent when the stream's call is over, or by the next one.
  if (command == BIO_CTRL_FLUSH) return 1;
  return command == BIO_CTRL_EOF ? SocketOf(bio).ended() : 0;
}

int BioCreate(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* Method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "rdmafs socket");
    CHECK(made != nullptr);
    CHECK(BIO_meth_set_read(made, &BioRead) == 1 && BIO_meth_set_write(made, &BioWrite) == 1);
    CHECK(BIO_meth_set_ctrl(made, &BioControl) == 1 && BIO_meth_set_create(made, &BioCreate) == 1);
    return made;
  }();
  return method;
}

}  // namespace

TlsSocket::TlsSocket(int fd, std::shared_ptr<StagingPool> pool) : fd_(fd), pool_(std::move(pool)) {}

TlsSocket::~TlsSocket() {
  if (block_ != nullptr) pool_->Give(std::move(block_));
}

BIO* TlsSocket::NewBio() {
  BIO* bio = BIO_new(Method());
  CHECK(bio != nullptr);
  BIO_set_data(bio, this);
  return bio;
}

ssize_t TlsSocket::Receive(char* to, size_t size) {
  ssize_t got;
  do {
    got = recv(fd_, to, size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) received_ = true;
  if (got == 0) ended_ = true;
  if (got < 0 && !WouldBlock(got)) error_ = errno;
  return got;
}

// Whole records only, so that libssl need not come again with the rest of one.
ssize_t TlsSocket::Send(const char* from, size_t size) {
  if (block_ == nullptr) block_ = pool_->Take();
  if (block_->bytes.size() - end_ < size && !Flush()) return -1;
  if (block_ == nullptr) block_ = pool_->Take();
  CHECK(block_->bytes.size() - end_ >= size);
  std::memcpy(block_->bytes.data() + end_, from, size);
  end_ += size;
  return static_cast<ssize_t>(size);
}

bool TlsSocket::Flush() {
  while (first_ != end_) {
    const ssize_t sent =
        send(fd_, block_->bytes.data() + first_, end_ - first_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      first_ += static_cast<size_t>(sent);
    } else if (errno != EINTR) {
      if (!WouldBlock(sent)) error_ = errno;
      return false;
    }
  }
  first_ = end_ = 0;
  if (block_ != nullptr) pool_->Give(std::move(block_));
  return true;
}

}  // namespace rdmafs
