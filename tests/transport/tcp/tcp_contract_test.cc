// The transport contract over TCP.
#include <csignal>

#include "tests/contract/transport_contract.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs {
namespace {

std::unique_ptr<Transport> MakeTcp(TransportResources resources) {
  return std::make_unique<TcpTransport>(resources);
}

std::unique_ptr<Transport> MakeLendingTcp(TransportResources resources) {
  signal(SIGPIPE, SIG_IGN);  // as the mount does: splice(2) has no MSG_NOSIGNAL
  resources.lends_pages = true;
  return MakeTcp(resources);
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Tcp, TransportContract,
                         testing::Values(ContractTransport{.name = "IPv4", .make = MakeTcp},
                                         ContractTransport{.name = "IPv6",
                                                           .make = MakeTcp,
                                                           .listen = {"::1", 0},
                                                           .connect_host = "::1"},
                                         ContractTransport{.name = "LentPages",
                                                           .make = MakeLendingTcp}),
                         [](const auto& test) { return test.param.name; });

}  // namespace rdmafs
