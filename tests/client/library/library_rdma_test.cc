// The library's data over a real RDMA device.
#include "tests/client/library/library_fixture.h"

namespace rdmafs::library {

INSTANTIATE_TEST_SUITE_P(Library, LibraryTest, testing::Values("rdma"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace rdmafs::library
