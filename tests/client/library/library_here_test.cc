// The library's data over the transports that every host has.
#include "tests/client/library/library_fixture.h"

namespace rdmafs::library {

INSTANTIATE_TEST_SUITE_P(Library, LibraryTest, testing::Values("tcp", "loopback"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace rdmafs::library
