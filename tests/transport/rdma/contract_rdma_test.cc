// The transport contract over a real RDMA device.
#include "tests/contract/transport_contract.h"
#include "tests/transport/rdma/test_address.h"
#include "transport/rdma/rdma_transport.h"

namespace rdmafs {

INSTANTIATE_TEST_SUITE_P(Rdma, TransportContract,
                         testing::Values(ContractTransport{
                             .name = "rdma",
                             .make =
                                 [](TransportResources resources) {
                                   return std::make_unique<RdmaTransport>(resources);
                                 },
                             .listen = {TestAddress(), 0},
                             .connect_host = TestAddress()}));

}  // namespace rdmafs
