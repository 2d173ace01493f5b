// Where the RDMA device of these tests is.
#pragma once

#include <cstdlib>
#include <string>

namespace rdmafs {

// An address of this host that an RDMA device has; the lab's unless RDMAFS_TEST_ADDRESS says
// another.
inline std::string TestAddress() {
  const char* address = std::getenv("RDMAFS_TEST_ADDRESS");
  return address != nullptr ? address : "10.77.0.1";
}

}  // namespace rdmafs
