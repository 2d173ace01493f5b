// delay_proxy: carries TCP connections to a server, each byte a fixed time later: a long way on one
// machine.
//
//   delay_proxy SERVER_PORT ROUND_TRIP_US [MIB_PER_S]
//
// Prints the port of 127.0.0.1 that it listens on. MIB_PER_S: what each direction carries at most,
// all connections together. The bytes go from socket to socket through pipes, as pages: it copies
// none of them.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kPieceBytes = 256 * 1024;
constexpr size_t kMostBytes = size_t{64} << 20;  // on their way in one direction
constexpr int kSocketBytes = 4 << 20;

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

sockaddr_in Local(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void Prepare(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kSocketBytes, sizeof kSocketBytes);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSocketBytes, sizeof kSocketBytes);
}

// Holds up to kPieceBytes that came in together.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_, O_CLOEXEC) != 0) Fail("pipe2");
    (void)::fcntl(ends_[0], F_SETPIPE_SZ, 4 * kPieceBytes);  // a slot may hold less than a page
  }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  // What came, 0 at the end.
  size_t FillFrom(int socket) {
    const ssize_t got = ::splice(socket, nullptr, ends_[1], nullptr, kPieceBytes, SPLICE_F_MOVE);
    return got > 0 ? static_cast<size_t>(got) : 0;
  }
  bool EmptyInto(int socket, size_t size) {
    while (size != 0) {
      const ssize_t gone = ::splice(ends_[0], nullptr, socket, nullptr, size, SPLICE_F_MOVE);
      if (gone <= 0) return false;
      size -= static_cast<size_t>(gone);
    }
    return true;
  }

 private:
  int ends_[2];
};

// One direction of the link: it carries one piece after the other, of all connections.
class Link {
 public:
  Link(std::chrono::microseconds delay, double mib_per_s)
      : delay_(delay), ns_per_byte_(mib_per_s > 0 ? 1e9 / (1 << 20) / mib_per_s : 0) {}

  // When a piece that begins its way now is at the other end.
  SteadyClock::time_point DueTime(size_t size) {
    std::lock_guard lock(mutex_);
    free_at_ = std::max(free_at_, SteadyClock::now()) +
               std::chrono::nanoseconds(std::llround(static_cast<double>(size) * ns_per_byte_));
    return free_at_ + delay_;
  }

 private:
  const std::chrono::microseconds delay_;
  const double ns_per_byte_;
  std::mutex mutex_;
  SteadyClock::time_point free_at_{};
};

// One direction of a connection. What comes in stands in line until its time has come.
class Way {
 public:
  Way(int from, int to, Link& link) : from_(from), to_(to), link_(link) {}

  void Take() {
    for (;;) {
      std::unique_ptr<Pipe> pipe = Spare();
      const size_t size = pipe->FillFrom(from_);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closed_ || in_line_ < kMostBytes; });
      in_line_ += size;
      line_.push_back({link_.DueTime(size), size, std::move(pipe)});
      changed_.notify_all();
      if (size == 0 || closed_) return;
    }
  }

  void Give() {
    for (;;) {
      Piece piece;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return !line_.empty(); });
        piece = std::move(line_.front());
        line_.pop_front();
        in_line_ -= piece.size;
        changed_.notify_all();
      }
      std::this_thread::sleep_until(piece.due);
      if (piece.size == 0 || !piece.pipe->EmptyInto(to_, piece.size)) break;
      std::lock_guard lock(mutex_);
      spares_.push_back(std::move(piece.pipe));
    }
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
    ::shutdown(to_, SHUT_WR);
    ::shutdown(from_, SHUT_RD);
  }

 private:
  struct Piece {
    SteadyClock::time_point due;
    size_t size = 0;  // 0: the end
    std::unique_ptr<Pipe> pipe;
  };

  std::unique_ptr<Pipe> Spare() {
    std::lock_guard lock(mutex_);
    if (spares_.empty()) return std::make_unique<Pipe>();
    std::unique_ptr<Pipe> pipe = std::move(spares_.back());
    spares_.pop_back();
    return pipe;
  }

  const int from_, to_;
  Link& link_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> line_;
  std::vector<std::unique_ptr<Pipe>> spares_;
  size_t in_line_ = 0;
  bool closed_ = false;
};

void Carry(int client, int server_port, Link& to_server, Link& to_client) {
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Prepare(server);
  const sockaddr_in address = Local(server_port);
  if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    Way there(client, server, to_server), back(server, client, to_client);
    std::thread threads[] = {std::thread([&] { there.Take(); }), std::thread([&] { there.Give(); }),
                             std::thread([&] { back.Take(); }), std::thread([&] { back.Give(); })};
    for (std::thread& thread : threads) thread.join();
  }
  ::close(server);
  ::close(client);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: delay_proxy SERVER_PORT ROUND_TRIP_US [MIB_PER_S]\n");
    return 2;
  }
  const int server_port = std::atoi(argv[1]);
  const std::chrono::microseconds delay(std::atol(argv[2]) / 2);
  const double mib_per_s = argc == 4 ? std::atof(argv[3]) : 0;
  Link to_server(delay, mib_per_s), to_client(delay, mib_per_s);
  ::signal(SIGPIPE, SIG_IGN);
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Prepare(listener);
  sockaddr_in address = Local(0);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 64) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    Fail("delay_proxy");
  }
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  for (;;) {
    const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) Fail("accept");
    Prepare(client);
    std::thread(Carry, client, server_port, std::ref(to_server), std::ref(to_client)).detach();
  }
}
