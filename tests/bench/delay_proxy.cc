// delay_proxy: carries TCP connections to a server, each byte a fixed time later: a long way on one machine.
//
//   delay_proxy SERVER_PORT ROUND_TRIP_US     prints the port of 127.0.0.1 that it listens on
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
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

// One direction of a connection. What comes in stands in line until its time has come.
class Way {
 public:
  Way(int from, int to, std::chrono::microseconds delay) : from_(from), to_(to), delay_(delay) {}

  void Take() {
    for (;;) {
      std::vector<char> bytes(kPieceBytes);
      const ssize_t got = ::read(from_, bytes.data(), bytes.size());
      bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closed_ || in_line_ < kMostBytes; });
      in_line_ += bytes.size();
      line_.push_back({SteadyClock::now() + delay_, std::move(bytes)});
      changed_.notify_all();
      if (got <= 0 || closed_) return;
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
        in_line_ -= piece.bytes.size();
        changed_.notify_all();
      }
      std::this_thread::sleep_until(piece.due);
      if (piece.bytes.empty() || !Write(piece.bytes)) break;
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
    std::vector<char> bytes;  // none: the end
  };

  bool Write(const std::vector<char>& bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t wrote = ::write(to_, bytes.data() + done, bytes.size() - done);
      if (wrote <= 0) return false;
      done += static_cast<size_t>(wrote);
    }
    return true;
  }

  const int from_, to_;
  const std::chrono::microseconds delay_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Piece> line_;
  size_t in_line_ = 0;
  bool closed_ = false;
};

void Carry(int client, int server_port, std::chrono::microseconds delay) {
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Prepare(server);
  const sockaddr_in address = Local(server_port);
  if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    Way there(client, server, delay), back(server, client, delay);
    std::thread threads[] = {std::thread([&] { there.Take(); }), std::thread([&] { there.Give(); }),
                             std::thread([&] { back.Take(); }), std::thread([&] { back.Give(); })};
    for (std::thread& thread : threads) thread.join();
  }
  ::close(server);
  ::close(client);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: delay_proxy SERVER_PORT ROUND_TRIP_US\n");
    return 2;
  }
  const int server_port = std::atoi(argv[1]);
  const std::chrono::microseconds delay(std::atol(argv[2]) / 2);
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
    std::thread(Carry, client, server_port, delay).detach();
  }
}
