#include "tests/fuzz/served_stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "transport/base/unique_fd.h"

namespace rdmafs::server {
namespace {

constexpr Nanoseconds kPatience = 20 * kSecond;

[[noreturn]] void Abort(const char* what, const char* why) {
  std::fprintf(stderr, "stream: %s: %s\n", what, why);
  abort();
}

// Calls `call` until it is not interrupted: the fuzzer's alarm comes every few seconds, without
// SA_RESTART.
template <typename Call>
auto Uninterrupted(Call call) {
  while (true) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

void ConnectTo(int fd, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int error =
      connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ? errno : 0;
  // An interrupted connect(2) goes on, and the socket becomes writable when it is done.
  if (error == EINTR) {
    pollfd waiting{fd, POLLOUT, 0};
    Uninterrupted([&] { return poll(&waiting, 1, -1); });
  } else if (error != 0) {
    Abort("connect", std::strerror(error));
  }
}

void SendAll(int fd, const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = Uninterrupted([&] { return send(fd, next, size, MSG_NOSIGNAL); });
    if (n <= 0) return;  // the server closed it: what it has seen was enough
    next += n;
    size -= static_cast<size_t>(n);
  }
}

// Takes what comes; false at the end of the stream.
bool Receive(int fd, const Clock& clock) {
  const Nanoseconds deadline = clock.Now() + kPatience;
  pollfd waiting{fd, POLLIN, 0};
  const int ready = Uninterrupted([&] {
    const Nanoseconds left = std::max<Nanoseconds>(0, deadline - clock.Now());
    return poll(&waiting, 1, static_cast<int>(left / kMillisecond));
  });
  if (ready != 1) Abort("receive", ready == 0 ? "it hangs" : std::strerror(errno));
  char space[65536];
  return Uninterrupted([&] { return recv(fd, space, sizeof space, 0); }) > 0;
}

std::string Greeting() {
  std::byte space[wire::kMaxBodyBytes];
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  std::string text = ServedStream::Message(wire::Opcode::kHello, wire::kSetUpSlot, 1,
                                           wire::Encode(hello, absl::MakeSpan(space)));
  return text + ServedStream::Message(wire::Opcode::kAttach, wire::kSetUpSlot, 2,
                                      wire::Encode(wire::AttachRequest{}, absl::MakeSpan(space)),
                                      "/export");
}

}  // namespace

void ServedStream::Send(absl::Span<const uint8_t> stream) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) Abort("socket", std::strerror(errno));
  ConnectTo(fd.get(), listener_->port());
  const std::string greeting = Greeting();
  SendAll(fd.get(), greeting.data(), greeting.size());
  if (!Receive(fd.get(), clock_)) return;
  SendAll(fd.get(), stream.data(), stream.size());
  shutdown(fd.get(), SHUT_WR);
  while (Receive(fd.get(), clock_)) {
  }
}

std::string ServedStream::Message(wire::Opcode opcode, uint16_t slot, uint32_t sequence,
                                  absl::Span<const std::byte> body,
                                  const std::string& inline_payload) {
  wire::MessageHeader header{};
  header.size = static_cast<uint32_t>(sizeof header + body.size() + inline_payload.size());
  header.opcode = static_cast<uint16_t>(opcode);
  header.slot = slot;
  header.sequence = sequence;
  header.inline_size = static_cast<uint32_t>(inline_payload.size());
  std::string text(reinterpret_cast<const char*>(&header), sizeof header);
  text.append(reinterpret_cast<const char*>(body.data()), body.size());
  return text + inline_payload;
}

}  // namespace rdmafs::server
