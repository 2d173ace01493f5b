// The private data of connection requests: what is accepted, and what a refusal says.
#include "transport/rdma/handshake.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

namespace rdmafs::rdma {
namespace {

template <typename T>
absl::Span<const std::byte> Bytes(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

TEST(RdmaHandshake, AHelloIsReadBackAlsoWhenTheDevicePadsIt) {
  const Hello hello{.credits = 17};
  std::vector<std::byte> padded(56);
  std::memcpy(padded.data(), &hello, sizeof hello);
  EXPECT_EQ(ReadHello(padded).credits, 17);
  EXPECT_EQ(ReadHello(Bytes(hello)).credits, 17);
}

TEST(RdmaHandshake, WhatIsNotAHelloIsRefusedWithItsReason) {
  struct {
    const char* name;
    std::function<void(Hello&)> spoil;
    Refusal refusal;
  } const cases[] = {
      {"magic", [](Hello& h) { h.magic ^= 1; }, Refusal::kMalformed},
      {"version 0", [](Hello& h) { h.version = 0; }, Refusal::kVersion},
      {"next version", [](Hello& h) { ++h.version; }, Refusal::kVersion},
      {"no credits", [](Hello& h) { h.credits = 0; }, Refusal::kCredits},
      {"too many credits", [](Hello& h) { h.credits = wire::kMaxCredits + 1; }, Refusal::kCredits},
      {"most credits there are", [](Hello& h) { h.credits = 0xffff; }, Refusal::kCredits},
      {"message size", [](Hello& h) { h.max_message_bytes = 0xffffffff; }, Refusal::kMalformed},
      {"payload size", [](Hello& h) { h.max_payload_bytes = 0; }, Refusal::kMalformed},
  };
  for (const auto& c : cases) {
    Hello hello{.credits = 64};
    c.spoil(hello);
    EXPECT_EQ(ReadHello(Bytes(hello)).refusal, c.refusal) << c.name;
    EXPECT_FALSE(ReadHello(Bytes(hello)).ok()) << c.name;
  }
}

TEST(RdmaHandshake, EveryTruncationIsRefused) {
  const Hello hello{.credits = 64};
  for (size_t size = 0; size < kLeastHelloBytes; ++size) {
    EXPECT_EQ(ReadHello(Bytes(hello).first(size)).refusal, Refusal::kMalformed) << size;
  }
}

TEST(RdmaHandshake, OneFlagIsKnownAndWithoutFlagsThereIsNone) {
  const Hello hello{.credits = 64, .flags = kHelloInvalidates},
      others{.credits = 64, .flags = ~kHelloInvalidates};
  EXPECT_TRUE(ReadHello(Bytes(hello)).invalidates);
  EXPECT_FALSE(ReadHello(Bytes(others)).invalidates);
  const HelloOrRefusal short_one = ReadHello(Bytes(hello).first(kLeastHelloBytes));
  EXPECT_TRUE(short_one.ok());
  EXPECT_FALSE(short_one.invalidates);
}

TEST(RdmaHandshake, ARejectionSaysWhyOrWhoseItIs) {
  Rejection rejection{.refusal = static_cast<uint16_t>(Refusal::kTooMany)};
  EXPECT_EQ(DescribeRejection(Bytes(rejection)), RefusalText(Refusal::kTooMany));
  rejection = {.version = 9, .refusal = static_cast<uint16_t>(Refusal::kVersion)};
  EXPECT_NE(DescribeRejection(Bytes(rejection)).find("version 9"), std::string::npos);
  rejection.refusal = 999;
  EXPECT_EQ(DescribeRejection(Bytes(rejection)), "an unknown reason");
  rejection.magic = 0;
  EXPECT_EQ(DescribeRejection(Bytes(rejection)), "it is not an rdmafs server");
  EXPECT_NE(DescribeRejection({}), "");
}

}  // namespace
}  // namespace rdmafs::rdma
