// What RDMA devices this host has; for status and doctor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rdmafs {

struct RdmaDevice {
  std::string name;       // "mlx5_0"
  std::string transport;  // "InfiniBand", "RoCE", "iWARP" or "unknown"
  std::string state;      // of the first port: "active", "down", ...
  std::string fault;      // why it cannot be used (permission, port state); empty when it can
  std::string firmware;
  uint32_t active_mtu_bytes = 0;
  uint64_t max_mr_count = 0, max_mr_bytes = 0;
  uint32_t max_qp_count = 0, max_qp_wr = 0, max_sge = 0;
  uint32_t max_reads = 0;  // RDMA_READs in flight per QP
  uint32_t max_mw_count = 0;
};

// Opens each device for a moment. Thread-safe; not before the last fork.
std::vector<RdmaDevice> ListRdmaDevices();

}  // namespace rdmafs
