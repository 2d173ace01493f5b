// Raw TCP sockets for tests: a connected pair on 127.0.0.1, and frames as bytes.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>
#include <utility>

#include "transport/base/unique_fd.h"
#include "transport/wire/header.h"

namespace rdmafs {

inline sockaddr_in LoopbackAddress(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// A blocking socket that is connected to `port`.
inline UniqueFd ConnectRaw(uint16_t port) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = LoopbackAddress(port);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

// `ours` is non-blocking, as a transport has it; `raw` blocks. `buffer_bytes`: of both, 0: as it
// comes.
struct TcpPair {
  UniqueFd ours, raw;
};
inline TcpPair MakeTcpPair(int buffer_bytes = 0) {
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (buffer_bytes != 0) {
    setsockopt(listener.get(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  sockaddr_in address = LoopbackAddress(0);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(listener.get(), 8), 0);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  TcpPair pair;
  pair.ours = UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (buffer_bytes != 0) {
    setsockopt(pair.ours.get(), SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    setsockopt(pair.ours.get(), SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  EXPECT_EQ(connect(pair.ours.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  pair.raw = UniqueFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_TRUE(pair.raw.valid());
  EXPECT_EQ(fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK), 0);
  return pair;
}

// A frame's message: `header` with its sizes set, body and inline payload.
inline std::string MessageBytes(wire::MessageHeader header, std::string_view body = "",
                                std::string_view inline_payload = "") {
  header.inline_size = static_cast<uint32_t>(inline_payload.size());
  header.size = static_cast<uint32_t>(sizeof header + body.size() + inline_payload.size());
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes.append(body);
  bytes.append(inline_payload);
  return bytes;
}

inline void SendAll(const UniqueFd& fd, std::string_view bytes) {
  EXPECT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

// Closes with a RST instead of a FIN.
inline void Reset(UniqueFd& fd) {
  const linger abort{.l_onoff = 1, .l_linger = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
  fd.reset();
}

}  // namespace rdmafs
