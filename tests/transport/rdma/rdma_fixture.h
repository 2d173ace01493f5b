// The fixture of all tests that need a device.
#pragma once

#include <gtest/gtest.h>

#include "tests/transport/rdma/rdma_peers.h"

namespace rdmafs {

class RdmaTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::Status available = client_side_.transport.Available();
    ASSERT_TRUE(available.ok()) << "these tests need an RDMA device that answers " << TestAddress()
                                << " (set RDMAFS_TEST_ADDRESS for another address): " << available;
  }
  Side client_side_, server_side_;
};

}  // namespace rdmafs
