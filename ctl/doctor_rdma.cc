// What the doctor asks about RDMA: devices, their nodes, and how much memory may be locked.
#include "absl/strings/str_cat.h"
#include "ctl/doctor.h"

namespace rdmafs {
namespace {

using Level = Finding::Level;

constexpr int kCapIpcLock = 14;
// The server's pool at its default size (256 MiB), messages, and the driver's own queues.
constexpr uint64_t kLockedBytes = uint64_t{320} << 20;

struct Devices {
  std::vector<std::string> active, inactive;  // "mlx5_0/1 (Ethernet, 100 Gb/sec (4X EDR))"
};

Devices FindDevices(const Host& host) {
  Devices devices;
  const std::string base = "/sys/class/infiniband";
  for (const std::string& device : host.List(base)) {
    const std::string ports = absl::StrCat(base, "/", device, "/ports");
    for (const std::string& port : host.List(ports)) {
      const std::string path = absl::StrCat(ports, "/", port, "/");
      const std::string state = host.Read(path + "state").value_or("unknown");
      const std::string text =
          absl::StrCat(device, " port ", port, " (",
                       host.Read(path + "link_layer").value_or("unknown link layer"), ", ",
                       host.Read(path + "rate").value_or("unknown rate"), ", ", state, ")");
      (state.rfind("4:", 0) == 0 ? devices.active : devices.inactive).push_back(text);
    }
  }
  return devices;
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) absl::StrAppend(&text, text.empty() ? "" : "; ", part);
  return text;
}

Finding ExamineDevices(const Devices& devices, Level absent) {
  if (!devices.active.empty()) return {Level::kFine, "rdma-device", Joined(devices.active), ""};
  if (!devices.inactive.empty()) {
    return {Level::kMissing, "rdma-device",
            absl::StrCat("no port is active: ", Joined(devices.inactive)),
            "check cable, switch and (InfiniBand) subnet manager; ip link set IFACE up (Ethernet)"};
  }
  return {absent, "rdma-device", "no RDMA device: mounts run over TCP",
          "the adapter's driver (modprobe mlx5_ib, irdma, bnxt_re, ...), or in software: "
          "modprobe rdma_rxe && rdma link add rxe0 type rxe netdev IFACE"};
}

Finding ExamineNodes(const Host& host, Level absent) {
  std::string lacking;
  if (!host.Exists("/dev/infiniband/rdma_cm")) lacking = "/dev/infiniband/rdma_cm";
  bool verbs = false;
  for (const std::string& name : host.List("/dev/infiniband")) {
    if (name.rfind("uverbs", 0) != 0 && name != "rdma_cm") continue;
    verbs |= name.rfind("uverbs", 0) == 0;
    const std::string path = absl::StrCat("/dev/infiniband/", name);
    if (!host.Usable(path)) {
      return {absent, "rdma-nodes", absl::StrCat(path, " may not be opened by this user"),
              absl::StrCat("chmod 666 ", path, " (udev's rules of rdma-core do), or run as root")};
    }
  }
  if (!verbs) absl::StrAppend(&lacking, lacking.empty() ? "" : ", ", "/dev/infiniband/uverbs*");
  if (lacking.empty()) return {Level::kFine, "rdma-nodes", "rdma_cm and uverbs may be opened", ""};
  return {absent, "rdma-nodes", absl::StrCat(lacking, " is not there"),
          "apt-get install rdma-core; modprobe rdma_ucm ib_uverbs"};
}

Finding ExamineLockedMemory(const Host& host, Level absent) {
  const auto limit = host.ReadLimit("Max locked memory");
  if (host.HasCapability(kCapIpcLock)) {
    return {Level::kFine, "memlock", "this user's locked memory is not limited (CAP_IPC_LOCK)", ""};
  }
  if (!limit) return {absent, "memlock", "RLIMIT_MEMLOCK is unknown", "mount /proc"};
  if (limit->soft >= kLockedBytes) {
    return {Level::kFine, "memlock",
            limit->soft == UINT64_MAX
                ? "RLIMIT_MEMLOCK is unlimited"
                : absl::StrCat("RLIMIT_MEMLOCK is ", limit->soft >> 20, " MiB"),
            ""};
  }
  return {absent, "memlock",
          absl::StrCat("RLIMIT_MEMLOCK is ", limit->soft >> 10,
                       " KiB: too little to register the pools"),
          "\"* - memlock unlimited\" in /etc/security/limits.d/rdmafs.conf and log in again; "
          "LimitMEMLOCK=infinity in a systemd unit"};
}

// The unit's own limit and what a drop-in may have made of it.
Finding ExamineUnit(const Host& host, Level absent) {
  std::string unit;
  for (const char* directory : {"/etc/systemd/system/", "/run/systemd/system/",
                                "/usr/lib/systemd/system/", "/lib/systemd/system/"}) {
    if (auto text = host.Read(absl::StrCat(directory, "rdmafsd.service"))) {
      unit = *text;
      break;
    }
  }
  if (unit.empty()) return {Level::kFine, "memlock-unit", "rdmafsd.service is not installed", ""};
  const std::string drop_ins = "/etc/systemd/system/rdmafsd.service.d";
  for (const std::string& name : host.List(drop_ins)) {
    absl::StrAppend(&unit, "\n", host.Read(absl::StrCat(drop_ins, "/", name)).value_or(""));
  }
  const size_t last = unit.rfind("\nLimitMEMLOCK=");
  const std::string value = last == std::string::npos
                                ? ""
                                : unit.substr(last + 14, unit.find('\n', last + 1) - last - 14);
  if (value == "infinity")
    return {Level::kFine, "memlock-unit", "rdmafsd.service has LimitMEMLOCK=infinity", ""};
  return {absent, "memlock-unit",
          absl::StrCat("rdmafsd.service has ",
                       value.empty() ? "no LimitMEMLOCK" : absl::StrCat("LimitMEMLOCK=", value)),
          "systemctl edit rdmafsd: [Service] LimitMEMLOCK=infinity"};
}

}  // namespace

std::vector<Finding> ExamineRdma(const Host& host, bool require_rdma) {
  const Devices devices = FindDevices(host);
  const bool there = !devices.active.empty() || !devices.inactive.empty();
  const Level absent = there || require_rdma ? Level::kMissing : Level::kAdvice;
  return {ExamineDevices(devices, absent), ExamineNodes(host, absent),
          ExamineLockedMemory(host, absent), ExamineUnit(host, absent)};
}

}  // namespace rdmafs
