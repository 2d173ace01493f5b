// The transport contract over loopback.
#include "tests/contract/transport_contract.h"
#include "transport/loopback/loopback_transport.h"

namespace rdmafs {
namespace {

ContractTransport Loopback(std::string name, MemoryExposure exposure) {
  auto hub = std::make_shared<LoopbackHub>(/*seed=*/1);
  return {.name = std::move(name), .make = [hub, exposure](TransportResources resources) {
            resources.exposure = exposure;
            return std::make_unique<LoopbackTransport>(hub, resources);
          }};
}

std::string NameOf(const testing::TestParamInfo<ContractTransport>& test) {
  return test.param.name;
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Loopback, TransportContract,
                         testing::Values(Loopback("OneHub", MemoryExposure::kCache),
                                         Loopback("Windows", MemoryExposure::kWindow)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Loopback, WindowContract,
                         testing::Values(Loopback("Windows", MemoryExposure::kWindow)), NameOf);

}  // namespace rdmafs
