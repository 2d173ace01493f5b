#include "transport/tcp/tcp_listener.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "transport/base/check.h"
#include "transport/base/log.h"
#include "transport/tcp/socket.h"
#include "transport/tcp/tcp_connection.h"
#include "transport/tcp/tls_stream.h"

namespace rdmafs {
namespace {

constexpr Nanoseconds kShortagePause = 100 * kMillisecond;
constexpr int kAcceptsPerRound = 64;

bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

TcpListener::TcpListener(UniqueFd socket, EventLoop& loop, Transport::AcceptFunction accept,
                         uint16_t credits, std::shared_ptr<StagingPool> pool, TlsSource tls)
    : loop_(loop),
      accept_(std::move(accept)),
      credits_(credits),
      pool_(std::move(pool)),
      tls_(std::move(tls)),
      socket_(std::move(socket)),
      address_(LocalAddress(socket_.get()).ToString()),
      port_(LocalAddress(socket_.get()).port()) {}

Errno TcpListener::Start() {
  return loop_.Add(socket_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); });
}

void TcpListener::OnReadable() {
  std::shared_ptr<bool> alive = alive_;
  for (int i = 0; i < kAcceptsPerRound && *alive; ++i) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    auto* peer = reinterpret_cast<sockaddr*>(&storage);
    UniqueFd fd(accept4(socket_.get(), peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.valid()) {
      shortage_logged_ = false;
      ConfigureStream(fd.get());
      std::unique_ptr<ByteStream> stream = NewStream(fd.get());
      accept_(std::make_unique<TcpConnection>(std::move(fd), TcpConnection::Role::kServer,
                                              SocketAddress(peer).ToString(), credits_, pool_,
                                              std::move(stream)));
    } else if (IsShortage(errno)) {
      return Pause(errno);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    }
    // accept(2): any other error is that of a connection which is gone already.
  }
}

std::unique_ptr<ByteStream> TcpListener::NewStream(int fd) const {
  if (tls_ == nullptr) return nullptr;
  auto session = tls_()->NewSession("");
  CHECK(session.ok());  // a server's needs nothing that could fail
  return std::make_unique<TlsStream>(fd, *std::move(session), pool_);
}

void TcpListener::Pause(int error) {
  if (!std::exchange(shortage_logged_, true)) {
    Log(LogLevel::kWarning, "cannot accept connections on ", address_,
        " for the moment: ", Errno(error).ToString());
  }
  if (!loop_.Modify(socket_.get(), 0).ok()) return;
  pause_timer_ = loop_.After(kShortagePause, [this] { Resume(); });
}

void TcpListener::Resume() {
  pause_timer_ = 0;
  [[maybe_unused]] Errno error = loop_.Modify(socket_.get(), EPOLLIN);
}

TcpListener::~TcpListener() {
  *alive_ = false;
  if (pause_timer_ != 0) loop_.Cancel(pause_timer_);
  loop_.Remove(socket_.get());
}

}  // namespace rdmafs
