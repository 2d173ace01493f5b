#include "transport/rdma/rdma_devices.h"

#include <infiniband/verbs.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "transport/base/errno.h"
#include "transport/rdma/verbs_handles.h"

namespace rdmafs {
namespace {

using DeviceListPtr = std::unique_ptr<ibv_device*, rdma::DestroyWith<ibv_free_device_list>>;
using ContextPtr = std::unique_ptr<ibv_context, rdma::DestroyWith<ibv_close_device>>;

std::string TransportName(const ibv_device& device, const ibv_port_attr& port) {
  if (device.transport_type == IBV_TRANSPORT_IWARP) return "iWARP";
  if (device.transport_type != IBV_TRANSPORT_IB) return "unknown";
  return port.link_layer == IBV_LINK_LAYER_ETHERNET ? "RoCE" : "InfiniBand";
}

std::string StateName(ibv_port_state state) {
  switch (state) {
    case IBV_PORT_ACTIVE:
      return "active";
    case IBV_PORT_DOWN:
      return "down";
    case IBV_PORT_INIT:
      return "initializing";
    case IBV_PORT_ARMED:
      return "armed";
    default:
      return "unknown";
  }
}

void ReadLimits(ibv_context* context, RdmaDevice& device) {
  ibv_device_attr limits{};
  if (ibv_query_device(context, &limits) != 0) return;
  device.firmware = limits.fw_ver;
  device.max_mr_count = static_cast<uint64_t>(std::max(0, limits.max_mr));
  device.max_mr_bytes = limits.max_mr_size;
  device.max_qp_count = static_cast<uint32_t>(std::max(0, limits.max_qp));
  device.max_qp_wr = static_cast<uint32_t>(std::max(0, limits.max_qp_wr));
  device.max_sge = static_cast<uint32_t>(std::max(0, limits.max_sge));
  device.max_reads = static_cast<uint32_t>(std::max(0, limits.max_qp_init_rd_atom));
  device.max_mw_count = static_cast<uint32_t>(std::max(0, limits.max_mw));
}

RdmaDevice Describe(ibv_device* raw) {
  RdmaDevice device{.name = ibv_get_device_name(raw)};
  ContextPtr context(ibv_open_device(raw));
  if (context == nullptr) {
    device.transport = raw->transport_type == IBV_TRANSPORT_IWARP ? "iWARP" : "unknown";
    device.state = "unknown";
    device.fault =
        absl::StrCat("cannot open /dev/infiniband/", raw->dev_name, ": ", Errno(errno).ToString());
    return device;
  }
  ReadLimits(context.get(), device);
  ibv_port_attr port{};
  const int error = ibv_query_port(context.get(), 1, &port);
  device.transport = TransportName(*raw, port);
  device.state = error == 0 ? StateName(port.state) : "unknown";
  device.active_mtu_bytes = error == 0 && port.active_mtu != 0 ? 128u << port.active_mtu : 0;
  if (device.state != "active") device.fault = absl::StrCat("port 1 is ", device.state);
  return device;
}

}  // namespace

std::vector<RdmaDevice> ListRdmaDevices() {
  int count = 0;
  DeviceListPtr list(ibv_get_device_list(&count));
  std::vector<RdmaDevice> devices;
  for (int i = 0; list != nullptr && i < count; ++i) devices.push_back(Describe(list.get()[i]));
  return devices;
}

}  // namespace rdmafs
