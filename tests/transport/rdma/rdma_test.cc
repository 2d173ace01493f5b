// The rdma transport over a real device: what a connection carries.
#include <gtest/gtest.h>

#include "tests/transport/rdma/rdma_peers.h"

namespace rdmafs {
namespace {

class RdmaTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::Status available = client_side_.transport.Available();
    ASSERT_TRUE(available.ok()) << "These tests need an RDMA device with the address " << TestAddress()
                                << " (RDMAFS_TEST_ADDRESS): " << available;
  }
  Side client_side_, server_side_;
};

TEST_F(RdmaTest, AMessageGoesThereAndItsEchoComesBack) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Outgoing call = TestClient::Call(kEcho, 3, 77);
  const std::string text = "the body";
  call.body = {reinterpret_cast<const std::byte*>(text.data()), text.size()};
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client.received_[0].header.slot, 3);
  EXPECT_EQ(client.received_[0].header.sequence, 77u);
  EXPECT_EQ(client.received_[0].body.size(), text.size());
  EXPECT_EQ(std::memcmp(client.received_[0].body.data(), text.data(), text.size()), 0);
  EXPECT_EQ(client.connection().transport_name(), "rdma");
  EXPECT_NE(client.connection().device(), "");
  EXPECT_EQ(client.connection().credits(), wire::kDefaultCredits);
}

TEST_F(RdmaTest, WhatTheServerPushesIsThereBeforeItsReply) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Buffer sink = client_side_.payload.Take();
  Outgoing call = TestClient::Call(kPushPattern, 0, 5);
  call.header.flags = wire::kFlagSink;
  call.exposed = sink.payload();
  call.hold = sink;
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  EXPECT_EQ(client.received_[0].header.remote_size, sink.size());
  EXPECT_TRUE(HasPattern(5, sink.payload()));
}

TEST_F(RdmaTest, TheServerPullsWhatTheClientExposed) {
  TestServer server(server_side_);
  TestClient client(client_side_);
  const absl::Status connected = client.Connect(server.endpoint());
  ASSERT_TRUE(connected.ok()) << connected;
  Buffer source = client_side_.payload.Take();
  FillPattern(9, source.payload());
  Outgoing call = TestClient::Call(kPullChecksum, 0, 9);
  call.header.flags = wire::kFlagSource;
  call.exposed = source.payload();
  call.hold = source;
  ASSERT_EQ(client.connection().Post(std::move(call)), kOk);
  ASSERT_TRUE(client.RunUntilReceived(1)) << client.closed_;
  uint64_t sum = 0;
  ASSERT_EQ(client.received_[0].body.size(), sizeof sum);
  std::memcpy(&sum, client.received_[0].body.data(), sizeof sum);
  EXPECT_EQ(sum, Checksum(source.payload()));
}

}  // namespace
}  // namespace rdmafs
