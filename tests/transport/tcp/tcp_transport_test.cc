// TcpTransport: listening, accepting and connecting when the host or the network has trouble.
#include "transport/tcp/tcp_transport.h"

#include <dirent.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

#include <functional>
#include <vector>

#include "tests/transport/tcp/tcp_pair.h"
#include "transport/tcp/socket.h"

namespace rdmafs {
namespace {

class TcpTransportTest : public testing::Test {
 protected:
  TcpTransportTest() : messages(arena, {}), transport({arena, messages, clock}), loop(clock) {}

  std::unique_ptr<Listener> Listen(const std::string& host) {
    auto listener =
        transport.Listen({host, 0}, {}, loop, [this](std::unique_ptr<Connection> connection) {
          accepted.push_back(std::move(connection));
        });
    EXPECT_TRUE(listener.ok()) << listener.status();
    return listener.ok() ? *std::move(listener) : nullptr;
  }
  [[nodiscard]] bool Until(const std::function<bool()>& condition) {
    const Nanoseconds deadline = clock.Now() + 20 * kSecond;
    while (!condition()) {
      if (clock.Now() > deadline) return false;
      loop.RunOnce(kMillisecond);
    }
    return true;
  }

  MonotonicClock clock;
  Arena arena;
  BufferPool messages;
  TcpTransport transport;
  EventLoop loop;
  std::vector<std::unique_ptr<Connection>> accepted;
};

TEST_F(TcpTransportTest, AnEmptyHostListensForIPv4AndIPv6) {
  auto listener = Listen("");
  for (const char* host : {"127.0.0.1", "::1"}) {
    auto connection = transport.Connect({host, listener->port()}, {});
    ASSERT_TRUE(connection.ok()) << connection.status();
  }
  ASSERT_TRUE(Until([&] { return accepted.size() == 2; }));
  EXPECT_EQ(accepted[0]->peer().substr(0, 10), "127.0.0.1:");
  EXPECT_EQ(accepted[1]->peer().substr(0, 6), "[::1]:");
}

// What a paced algorithm costs on loopback is in transport/tcp/socket.cc.
TEST(ConfigureStream, AConnectionWithinTheHostIsNotPaced) {
  TcpPair pair = MakeTcpPair();
  ConfigureStream(pair.ours.get());
  char name[16] = {};
  socklen_t size = sizeof name - 1;
  ASSERT_EQ(getsockopt(pair.ours.get(), IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  EXPECT_STREQ(name, "reno");
}

// What is under way stays in the processor's caches: transport/tcp/socket.cc.
TEST(ConfigureStream, AConnectionWithinTheHostDoesNotGrowItsSendBuffer) {
  TcpPair pair = MakeTcpPair();
  ConfigureStream(pair.ours.get());
  const std::vector<char> much(8 << 20);
  const ssize_t taken = send(pair.ours.get(), much.data(), much.size(), MSG_DONTWAIT);
  ASSERT_GT(taken, 0);
  int bytes = 0;
  socklen_t size = sizeof bytes;
  ASSERT_EQ(getsockopt(pair.ours.get(), SOL_SOCKET, SO_SNDBUF, &bytes, &size), 0);
  EXPECT_GT(bytes, 128 << 10);
  EXPECT_LE(bytes, 1 << 20);
}

TEST_F(TcpTransportTest, ANameIsLookedUp) {
  auto listener = Listen("127.0.0.1");
  auto connection = transport.Connect({"localhost", listener->port()}, {});
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_EQ((*connection)->peer(), "127.0.0.1:" + std::to_string(listener->port()));
  EXPECT_EQ((*connection)->transport_name(), "tcp");
}

TEST_F(TcpTransportTest, APortInUseIsSaidSo) {
  auto listener = Listen("127.0.0.1");
  auto second = transport.Listen({"127.0.0.1", listener->port()}, {}, loop, {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("EADDRINUSE"), absl::string_view::npos)
      << second.status();
}

TEST_F(TcpTransportTest, ConnectGivesUpAtItsDeadline) {
  // A listener whose queue is full lets further connections wait.
  UniqueFd full(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = LoopbackAddress(0);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(full.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(full.get(), 0), 0);
  ASSERT_EQ(getsockname(full.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const uint16_t port = ntohs(address.sin_port);
  UniqueFd waiting = ConnectRaw(port);

  const Nanoseconds begin = clock.Now();
  auto connection = transport.Connect({"127.0.0.1", port}, {.timeout = 100 * kMillisecond});
  ASSERT_FALSE(connection.ok());
  EXPECT_NE(connection.status().message().find("ETIMEDOUT"), absl::string_view::npos)
      << connection.status();
  EXPECT_GE(clock.Now() - begin, 100 * kMillisecond);
  EXPECT_LT(clock.Now() - begin, 10 * kSecond);
}

// Holds RLIMIT_NOFILE at what is open now.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit now = before_;
    UniqueFd next(dup(STDERR_FILENO));
    now.rlim_cur = static_cast<rlim_t>(next.get());
    next.reset();
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
  }
  ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(TcpTransportTest, WithoutDescriptorsAcceptingPausesInsteadOfSpinning) {
  auto listener = Listen("127.0.0.1");
  // A timer, and one that is accepted: UBSan needs a descriptor when it first sees the type of an
  // object.
  loop.After(0, [] {});
  UniqueFd first = ConnectRaw(listener->port());
  ASSERT_TRUE(Until([&] { return accepted.size() == 1; }));
  accepted.clear();
  const Nanoseconds until = clock.Now() + 250 * kMillisecond;
  UniqueFd raw = ConnectRaw(listener->port());
  int rounds = 0;
  {
    NoMoreDescriptors limit;
    for (; clock.Now() < until; ++rounds) loop.RunOnce(250 * kMillisecond);
  }
  EXPECT_TRUE(accepted.empty());
  EXPECT_LT(rounds, 20);
  EXPECT_TRUE(Until([&] { return accepted.size() == 1; }));
}

TEST_F(TcpTransportTest, AListenerMayBeDestroyedByItsAcceptFunction) {
  std::unique_ptr<Listener> listener;
  int count = 0;
  auto made = transport.Listen({"127.0.0.1", 0}, {}, loop, [&](std::unique_ptr<Connection>) {
    ++count;
    loop.Defer([&listener] { listener.reset(); });
  });
  ASSERT_TRUE(made.ok());
  listener = *std::move(made);
  UniqueFd raw = ConnectRaw(listener->port());
  EXPECT_TRUE(Until([&] { return listener == nullptr; }));
  EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace rdmafs
