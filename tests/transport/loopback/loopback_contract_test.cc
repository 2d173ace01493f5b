// The transport contract over loopback.
#include "tests/contract/transport_contract.h"
#include "transport/loopback/loopback_transport.h"

namespace rdmafs {
namespace {

ContractTransport Loopback() {
  auto hub = std::make_shared<LoopbackHub>(/*seed=*/1);
  return {.name = "OneHub", .make = [hub](TransportResources resources) {
            return std::make_unique<LoopbackTransport>(hub, resources);
          }};
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Loopback, TransportContract, testing::Values(Loopback()),
                         [](const auto& test) { return test.param.name; });

}  // namespace rdmafs
