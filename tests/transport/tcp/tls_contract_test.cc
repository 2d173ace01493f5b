// The transport contract over TLS, with a key and with certificates.
#include "tests/contract/transport_contract.h"
#include "tests/transport/tls/tls_fixture.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs {
namespace {

// Which side a transport is of the suite does not say: it connects, or it listens.
class BothSides final : public Transport {
 public:
  BothSides(TransportResources resources, const TlsPair& tls)
      : client_(resources, Always(tls.client)), server_(resources, Always(tls.server)) {}

  std::string_view name() const override { return "tcp"; }
  absl::Status Available() const override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                      const ConnectionOptions& options) override {
    return client_.Connect(peer, options);
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                   const ConnectionOptions& options,
                                                   EventLoop& loop,
                                                   AcceptFunction accept) override {
    return server_.Listen(endpoint, options, loop, std::move(accept));
  }
  MemoryRegionCache::Statistics memory_statistics() const override { return {}; }

 private:
  TcpTransport client_, server_;
};

std::unique_ptr<Transport> WithKey(TransportResources resources) {
  return std::make_unique<BothSides>(resources, TlsWithKey());
}
std::unique_ptr<Transport> WithCertificates(TransportResources resources) {
  static const TlsPair pair = TlsWithCertificates();  // both sides know one authority
  return std::make_unique<BothSides>(resources, pair);
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Tls, TransportContract,
                         testing::Values(ContractTransport{.name = "Key", .make = WithKey},
                                         ContractTransport{.name = "Certificates",
                                                           .make = WithCertificates,
                                                           .listen = {"::1", 0},
                                                           .connect_host = "::1"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace rdmafs
