// tcp_exchange: the least that a read or a write through a server on the same host costs: two
// processes, one connection over 127.0.0.1, blocking calls, one exchange at a time, and nothing
// else.
//
//   tcp_exchange read|write BYTES FILE SECONDS
//
// The client sends a request of 128 bytes (with BYTES of payload to write), the server reads from
// or writes to FILE and replies with 128 bytes (with BYTES of payload that were read). Prints
// microseconds per exchange.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace {

constexpr size_t kHeadBytes = 128;
constexpr int kSendBufferBytes = 512 << 10;  // as in transport/tcp/socket.cc
using SteadyClock = std::chrono::steady_clock;

void Require(bool holds, const char* what) {
  if (holds) return;
  std::perror(what);
  std::exit(1);
}

void SendAll(int fd, const char* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t sent = send(fd, bytes + done, size - done, MSG_NOSIGNAL);
    Require(sent > 0, "send");
    done += static_cast<size_t>(sent);
  }
}

// False at the end of the stream.
bool ReceiveAll(int fd, char* bytes, size_t size) {
  for (size_t done = 0; done < size;) {
    const ssize_t got = recv(fd, bytes + done, size - done, 0);
    Require(got >= 0, "recv");
    if (got == 0) return false;
    done += static_cast<size_t>(got);
  }
  return true;
}

void Configure(int fd) {
  const int on = 1;
  Require(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
  Require(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kSendBufferBytes, sizeof kSendBufferBytes) == 0,
          "SO_SNDBUF");
  Require(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0, "TCP_CONGESTION");
}

// Offsets go through FILE, as those of a sequential job do.
void Serve(int fd, bool write, size_t size, const char* path) {
  const int file = open(path, O_RDWR);
  Require(file >= 0, path);
  const off_t end = lseek(file, 0, SEEK_END);
  std::vector<char> bytes(kHeadBytes + size);
  for (off_t at = 0; ReceiveAll(fd, bytes.data(), kHeadBytes + (write ? size : 0));) {
    char* const payload = bytes.data() + kHeadBytes;
    const ssize_t done = write ? pwrite(file, payload, size, at) : pread(file, payload, size, at);
    Require(done == static_cast<ssize_t>(size), write ? "pwrite" : "pread");
    SendAll(fd, bytes.data(), kHeadBytes + (write ? 0 : size));
    at = at + 2 * static_cast<off_t>(size) <= end ? at + static_cast<off_t>(size) : 0;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 5 ? argv[1] : "";
  if (what != "read" && what != "write") {
    std::fprintf(stderr, "usage: tcp_exchange read|write BYTES FILE SECONDS\n");
    return 2;
  }
  const bool write = what == "write";
  const size_t size = std::strtoul(argv[2], nullptr, 10);
  const std::chrono::duration<double> duration(std::strtod(argv[4], nullptr));

  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const name = reinterpret_cast<sockaddr*>(&address);
  Require(bind(listener, name, length) == 0 && listen(listener, 1) == 0, "listen");
  Require(getsockname(listener, name, &length) == 0, "getsockname");

  const pid_t server = fork();
  Require(server >= 0, "fork");
  if (server == 0) {
    const int fd = accept(listener, nullptr, nullptr);
    Require(fd >= 0, "accept");
    Configure(fd);
    Serve(fd, write, size, argv[3]);
    _exit(0);
  }
  close(listener);  // so that a server that is gone refuses
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Require(connect(fd, name, length) == 0, "connect");
  Configure(fd);
  std::vector<char> bytes(kHeadBytes + size);
  const auto begin = SteadyClock::now();
  size_t count = 0;
  std::chrono::duration<double, std::micro> taken{};
  for (; taken < duration; taken = SteadyClock::now() - begin, ++count) {
    SendAll(fd, bytes.data(), kHeadBytes + (write ? size : 0));
    Require(ReceiveAll(fd, bytes.data(), kHeadBytes + (write ? 0 : size)), "the server");
  }
  close(fd);
  int status = 1;
  Require(waitpid(server, &status, 0) == server && status == 0, "the server");
  std::printf("%.2f\n", taken.count() / static_cast<double>(count));
}
