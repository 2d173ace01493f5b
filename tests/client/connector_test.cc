// Connector: which transport leads to the server, and when it is left for the other one.
#include "client/connector.h"

#include <gtest/gtest.h>

namespace rdmafs {
namespace {

class NamedConnection final : public Connection {
 public:
  explicit NamedConnection(std::string_view name) : name_(name) {}
  std::string_view transport_name() const override { return name_; }
  std::string peer() const override { return ""; }
  void Start(EventLoop&, ConnectionHandler&) override {}
  Errno Post(Outgoing) override { return Errno(ENOTCONN); }
  void Pull(const ReceivedMessage&, absl::Span<std::byte>, Buffer, Reply<Pulled> reply) override {
    reply.Complete(Errno(ENOTCONN));
  }
  void Close(absl::Status) override {}

 private:
  const std::string_view name_;
};

class FakeTransport final : public Transport {
 public:
  explicit FakeTransport(std::string_view name) : name_(name) {}
  std::string_view name() const override { return name_; }
  absl::Status Available() const override {
    return has_device ? absl::OkStatus() : absl::NotFoundError("no device");
  }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint&,
                                                      const ConnectionOptions&) override {
    ++attempts;
    if (!has_device || !leads_there) return absl::UnavailableError("it does not answer");
    return std::make_unique<NamedConnection>(name_);
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint&, const ConnectionOptions&,
                                                   EventLoop&, AcceptFunction) override {
    return absl::UnimplementedError("no listener");
  }
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }

  bool has_device = true, leads_there = true;
  int attempts = 0;

 private:
  const std::string_view name_;
};

class ConnectorTest : public testing::Test {
 protected:
  // The transport of the connection that is made, or "" when none is.
  static std::string Connect(Connector& connector) {
    auto connection = connector.ConnectFirst(kSecond);
    return connection.ok() ? std::string((*connection)->transport_name()) : "";
  }
  std::unique_ptr<Connector> Make(TransportChoice choice,
                                  std::vector<Endpoint> servers = {{"server", 1}}) {
    return std::make_unique<Connector>(std::move(servers), choice, &tcp_, &rdma_, 64);
  }

  FakeTransport tcp_{"tcp"}, rdma_{"rdma"};
};

TEST_F(ConnectorTest, AutoTakesRdmaWhereItLeadsToTheServer) {
  auto connector = Make(TransportChoice::kAuto);
  EXPECT_EQ(Connect(*connector), "rdma");
  EXPECT_EQ(tcp_.attempts, 0);
}

TEST_F(ConnectorTest, AutoTakesTcpAtOnceWhenRdmaDoesNotLeadThereTheFirstTime) {
  rdma_.leads_there = false;
  auto connector = Make(TransportChoice::kAuto);
  EXPECT_EQ(Connect(*connector), "tcp");
  rdma_.leads_there = true;
  EXPECT_EQ(Connect(*connector), "tcp") << "and stays with it";
}

TEST_F(ConnectorTest, AutoWaitsForRdmaWhileTheServerCannotBeReachedAtAll) {
  auto connector = Make(TransportChoice::kAuto);
  ASSERT_EQ(Connect(*connector), "rdma");
  rdma_.leads_there = tcp_.leads_there = false;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Connect(*connector), "");
  rdma_.leads_there = tcp_.leads_there = true;
  EXPECT_EQ(Connect(*connector), "rdma");
}

TEST_F(ConnectorTest, AutoLeavesRdmaWhenForLongOnlyTcpLeadsThere) {
  auto connector = Make(TransportChoice::kAuto);
  ASSERT_EQ(Connect(*connector), "rdma");
  rdma_.leads_there = false;
  for (int i = 0; i < Connector::kRefusalsToLeave - 1; ++i) EXPECT_EQ(Connect(*connector), "");
  rdma_.leads_there = true;
  EXPECT_EQ(Connect(*connector), "rdma") << "it was a server that was starting";
  rdma_.leads_there = false;
  for (int i = 0; i < Connector::kRefusalsToLeave - 1; ++i) EXPECT_EQ(Connect(*connector), "");
  EXPECT_EQ(Connect(*connector), "tcp");
  EXPECT_EQ(connector->chosen(), "tcp");
  EXPECT_EQ(connector->why(), "RDMA cannot be used any more: it does not answer");
}

TEST_F(ConnectorTest, AutoLeavesRdmaAtOnceWhenThisHostHasNoDeviceAnyMore) {
  auto connector = Make(TransportChoice::kAuto);
  ASSERT_EQ(Connect(*connector), "rdma");
  rdma_.has_device = false;
  EXPECT_EQ(Connect(*connector), "tcp");
}

TEST_F(ConnectorTest, WhoAskedForRdmaGetsNothingElse) {
  auto connector = Make(TransportChoice::kRdma);
  ASSERT_EQ(Connect(*connector), "rdma");
  rdma_.has_device = false;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Connect(*connector), "");
  EXPECT_EQ(tcp_.attempts, 0);
}

TEST_F(ConnectorTest, AnotherAddressIsAskedForRdmaAgain) {
  auto connector = Make(TransportChoice::kAuto, {{"one", 1}, {"other", 1}});
  ASSERT_EQ(Connect(*connector), "rdma");
  rdma_.has_device = false;
  ASSERT_EQ(Connect(*connector), "tcp");
  rdma_.has_device = true;
  connector->Skip();
  EXPECT_EQ(Connect(*connector), "rdma");
}

}  // namespace
}  // namespace rdmafs
