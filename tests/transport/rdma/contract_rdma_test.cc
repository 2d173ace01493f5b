// The transport contract over a real RDMA device.
#include "tests/contract/transport_contract.h"
#include "tests/transport/rdma/test_address.h"
#include "transport/rdma/rdma_devices.h"
#include "transport/rdma/rdma_transport.h"

namespace rdmafs {
namespace {

ContractTransport Rdma(std::string name, MemoryExposure exposure) {
  return {.name = std::move(name),
          .make =
              [exposure](TransportResources resources) {
                resources.exposure = exposure;
                return std::make_unique<RdmaTransport>(resources);
              },
          .listen = {TestAddress(), 0},
          .connect_host = TestAddress()};
}

std::string NameOf(const testing::TestParamInfo<ContractTransport>& test) {
  return test.param.name;
}

// So that WindowContract's tests are not left out where they need not be.
class RdmaExposure : public TransportContract {};

TEST_P(RdmaExposure, IsByWindowsWhereTheDeviceHasThemAndElseSaysWhyNot) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  const std::string exposure = client.connection->exposure();
  bool has_windows = false;
  for (const RdmaDevice& device : ListRdmaDevices()) {
    if (device.name == client.connection->device()) has_windows = device.max_mw_count != 0;
  }
  EXPECT_EQ(exposure.substr(0, exposure.find(':')), has_windows ? "window" : "cache") << exposure;
  if (!has_windows) {
    EXPECT_NE(exposure.find("it has none"), std::string::npos) << exposure;
  }
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Rdma, TransportContract,
                         testing::Values(Rdma("rdma", MemoryExposure::kCache),
                                         Rdma("rdma_windows", MemoryExposure::kWindow)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Rdma, WindowContract,
                         testing::Values(Rdma("rdma", MemoryExposure::kWindow)), NameOf);
INSTANTIATE_TEST_SUITE_P(Rdma, RdmaExposure, testing::Values(Rdma("rdma", MemoryExposure::kWindow)),
                         NameOf);

}  // namespace rdmafs
