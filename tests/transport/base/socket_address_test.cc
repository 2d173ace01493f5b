// SocketAddress: numbers and names to addresses, and back to text.
#include "transport/base/socket_address.h"

#include <gtest/gtest.h>

namespace rdmafs {
namespace {

TEST(SocketAddress, NumericHostsAreReadAndWrittenBack) {
  struct {
    const char* host;
    const char* text;
    int family;
  } const cases[] = {
      {"10.77.0.1", "10.77.0.1:20490", AF_INET},
      {"::1", "[::1]:20490", AF_INET6},
      {"[fd00::1]", "[fd00::1]:20490", AF_INET6},
      {"::ffff:10.1.2.3", "10.1.2.3:20490", AF_INET6},
  };
  for (const auto& c : cases) {
    auto found = SocketAddress::Resolve(c.host, 20490, kSecond);
    ASSERT_TRUE(found.ok()) << c.host;
    ASSERT_EQ(found->size(), 1u) << c.host;
    EXPECT_EQ(found->front().ToString(), c.text);
    EXPECT_EQ(found->front().family(), c.family);
    EXPECT_EQ(found->front().port(), 20490);
  }
}

TEST(SocketAddress, LoopbackAddressesAreToldFromOthers) {
  struct {
    const char* host;
    bool loopback;
  } const cases[] = {{"127.0.0.1", true}, {"127.8.9.10", true},      {"::1", true},
                     {"::ffff:127.0.0.1", true}, {"128.0.0.1", false}, {"::ffff:10.127.0.1", false},
                     {"::", false},     {"fd00::1", false}};
  for (const auto& c : cases) {
    auto found = SocketAddress::Resolve(c.host, 1, kSecond);
    ASSERT_TRUE(found.ok()) << c.host;
    EXPECT_EQ(found->front().IsLoopback(), c.loopback) << c.host;
  }
  EXPECT_FALSE(SocketAddress().IsLoopback());
}

TEST(SocketAddress, NoHostIsEveryAddressOfBothFamilies) {
  auto found = SocketAddress::Resolve("", 7, kSecond);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].ToString(), "[::]:7");
  EXPECT_EQ((*found)[1].ToString(), "0.0.0.0:7");
}

TEST(SocketAddress, ANameIsLookedUp) {
  auto found = SocketAddress::Resolve("localhost", 7, 5 * kSecond);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_FALSE(found->empty());
}

TEST(SocketAddress, ANameThatCannotBeIsAnErrorThatRepeatsIt) {
  auto found = SocketAddress::Resolve("no host has blanks", 7, 5 * kSecond);
  ASSERT_FALSE(found.ok());
  EXPECT_NE(found.status().message().find("no host has blanks"), std::string::npos);
}

TEST(SocketAddress, AnEmptyOneHasNoText) {
  EXPECT_EQ(SocketAddress().host(), "");
  EXPECT_EQ(SocketAddress().size(), 0u);
}

}  // namespace
}  // namespace rdmafs
