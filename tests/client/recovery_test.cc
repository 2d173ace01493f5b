// What a client decides by itself when the server is away: how long to wait, which address to try.
#include <gtest/gtest.h>

#include "client/connector.h"
#include "client/reconnect_pauses.h"
#include "transport/loopback/loopback_transport.h"

namespace rdmafs {
namespace {

TEST(ReconnectPauses, StayShortWhileTheOutageIsYoungAndGrowToTheirMaximumLater) {
  ReconnectPauses pauses(5 * kSecond);
  EXPECT_EQ(pauses.Next(0), 100 * kMillisecond);
  EXPECT_EQ(pauses.Next(kSecond), 200 * kMillisecond);
  EXPECT_EQ(pauses.Next(kSecond), 400 * kMillisecond);
  EXPECT_EQ(pauses.Next(60 * kSecond), 400 * kMillisecond);
  EXPECT_EQ(pauses.Next(120 * kSecond), 800 * kMillisecond);
  EXPECT_EQ(pauses.Next(120 * kSecond), 1600 * kMillisecond);
  EXPECT_EQ(pauses.Next(120 * kSecond), 3200 * kMillisecond);
  EXPECT_EQ(pauses.Next(120 * kSecond), 5 * kSecond);
  EXPECT_EQ(pauses.Next(3600 * kSecond), 5 * kSecond);
}

TEST(ReconnectPauses, NeverExceedTheirMaximum) {
  ReconnectPauses pauses(50 * kMillisecond);
  EXPECT_EQ(pauses.Next(0), 50 * kMillisecond);
  EXPECT_EQ(pauses.Next(200 * kSecond), 50 * kMillisecond);
}

// Two addresses of a server; a test decides at which of them somebody listens.
class ConnectorTest : public testing::Test {
 protected:
  static constexpr uint16_t kPorts[] = {1, 2};

  std::unique_ptr<Listener> Listen(uint16_t port) {
    auto listener = transport_.Listen({"", port}, {}, loop_, [](auto) {});
    EXPECT_TRUE(listener.ok());
    return std::move(*listener);
  }

  MonotonicClock clock_;
  Arena arena_;
  BufferPool messages_{arena_, {.payload_bytes = 8192, .cap_bytes = 1 << 20}};
  EventLoop loop_{clock_};
  LoopbackTransport transport_{std::make_shared<LoopbackHub>(1), {arena_, messages_, clock_}};
  Connector connector_{
      {{"a", kPorts[0]}, {"b", kPorts[1]}}, TransportChoice::kTcp, &transport_, nullptr, 8};
};

TEST_F(ConnectorTest, TakesTheFirstAddressThatCanBeReached) {
  auto second = Listen(kPorts[1]);
  EXPECT_TRUE(connector_.ConnectFirst(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "b");
}

TEST_F(ConnectorTest, StaysWithTheAddressThatItUsedLast) {
  auto second = Listen(kPorts[1]);
  ASSERT_TRUE(connector_.ConnectFirst(kSecond).ok());
  auto first = Listen(kPorts[0]);
  EXPECT_TRUE(connector_.ConnectFirst(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "b");
  EXPECT_TRUE(connector_.Connect(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "b");
}

TEST_F(ConnectorTest, GoesToTheOtherAddressWhenItsOwnIsGoneOrDoesNotServe) {
  auto first = Listen(kPorts[0]);
  ASSERT_TRUE(connector_.ConnectFirst(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "a");
  first.reset();
  auto second = Listen(kPorts[1]);
  ASSERT_TRUE(connector_.ConnectFirst(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "b");
  first = Listen(kPorts[0]);
  connector_.Skip();
  ASSERT_TRUE(connector_.ConnectFirst(kSecond).ok());
  EXPECT_EQ(connector_.server().host, "a");
}

TEST_F(ConnectorTest, SaysWhyWhenNoAddressCanBeReached) {
  auto connection = connector_.ConnectFirst(kSecond);
  EXPECT_FALSE(connection.ok());
  EXPECT_FALSE(connection.status().message().empty());
}

}  // namespace
}  // namespace rdmafs
