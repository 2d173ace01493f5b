#include "ctl/doctor.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace rdmafs {
namespace {

using Level = Finding::Level;

constexpr int kServerPort = 20490;
constexpr int kCapSysAdmin = 21;
// Enough for a server of many clients; less only bounds what it can hold open.
constexpr uint64_t kPlentyOfFiles = 65536;

Finding ExamineKernel(const Host& host) {
  const auto [major, minor] = host.KernelVersion();
  const std::string text =
      absl::StrCat("Linux ", host.Read("/proc/sys/kernel/osrelease").value_or("(unknown)"));
  if (std::pair(major, minor) < std::pair(5, 10)) {
    return {Level::kAdvice, "kernel", text,
            "rdmafs is tested on Linux 6.1 and later; 5.10 is the oldest that should do"};
  }
  return {Level::kFine, "kernel", text, ""};
}

Finding ExamineFuseDevice(const Host& host) {
  if (!host.Exists("/dev/fuse")) {
    return {Level::kMissing, "fuse-device", "/dev/fuse is not there",
            "modprobe fuse (in a container: give it the device /dev/fuse)"};
  }
  if (!host.Usable("/dev/fuse")) {
    return {Level::kMissing, "fuse-device", "/dev/fuse may not be opened by this user",
            "chmod 666 /dev/fuse (what udev does), or run as root"};
  }
  return {Level::kFine, "fuse-device", "/dev/fuse is there and may be opened", ""};
}

Finding ExamineFusermount(const Host& host) {
  for (const char* path :
       {"/usr/bin/fusermount3", "/bin/fusermount3", "/usr/local/bin/fusermount3"}) {
    if (host.Exists(path)) return {Level::kFine, "fusermount3", path, ""};
  }
  if (host.HasCapability(kCapSysAdmin)) {
    return {Level::kAdvice, "fusermount3",
            "fusermount3 is not installed: only root can mount and unmount",
            "apt-get install fuse3"};
  }
  return {Level::kMissing, "fusermount3", "fusermount3 is not installed: this user cannot mount",
          "apt-get install fuse3"};
}

Finding ExamineAllowOther(const Host& host) {
  std::istringstream lines(host.Read("/etc/fuse.conf").value_or(""));
  for (std::string line, word; std::getline(lines, line);) {
    std::istringstream words(line);
    if (words >> word && word == "user_allow_other") {
      return {Level::kFine, "user-allow-other", "users may mount with -o allow_other", ""};
    }
  }
  return {Level::kAdvice, "user-allow-other", "only root may mount with -o allow_other",
          "echo user_allow_other >> /etc/fuse.conf"};
}

Finding ExamineFuseUring(const Host& host) {
  const auto enabled = host.Read("/sys/module/fuse/parameters/enable_uring");
  if (!enabled) {
    return {Level::kAdvice, "fuse-io-uring",
            "this kernel has no FUSE over io_uring; the FUSE device is used",
            "Linux 6.14 or later"};
  }
  if (*enabled != "Y" && *enabled != "1") {
    return {Level::kAdvice, "fuse-io-uring",
            "FUSE over io_uring is switched off; the FUSE device is used",
            "echo Y > /sys/module/fuse/parameters/enable_uring"};
  }
  return {Level::kFine, "fuse-io-uring", "FUSE over io_uring is switched on", ""};
}

Finding ExamineMountHelper(const Host& host) {
  for (const char* path : {"/sbin/mount.fuse.rdmafs", "/usr/sbin/mount.fuse.rdmafs"}) {
    if (host.Exists(path)) return {Level::kFine, "mount-helper", path, ""};
  }
  return {Level::kAdvice, "mount-helper",
          "mount -t fuse.rdmafs does not know rdmafs (the program can be called itself)",
          "install the Debian package, or cmake --install with the prefix /usr"};
}

Finding ExamineOpenFiles(const Host& host) {
  const auto limit = host.ReadLimit("Max open files");
  if (!limit) return {Level::kAdvice, "nofile", "RLIMIT_NOFILE is unknown", "mount /proc"};
  const std::string text =
      absl::StrCat("RLIMIT_NOFILE is ", limit->soft, ", may be raised to ", limit->hard);
  if (limit->hard < kPlentyOfFiles) {
    return {Level::kAdvice, "nofile", text,
            "ulimit -Hn 524288, or LimitNOFILE=524288 in the unit, for a server of many open "
            "files"};
  }
  return {Level::kFine, "nofile", text, ""};
}

Finding ExamineIoUring(const Host& host) {
  if (host.KernelVersion() < std::pair(5, 10)) {
    return {Level::kAdvice, "io-uring",
            "this kernel is too old; the server reads the disk with threads",
            "Linux 5.10 or later"};
  }
  const std::string disabled = host.Read("/proc/sys/kernel/io_uring_disabled").value_or("0");
  if (disabled == "0") return {Level::kFine, "io-uring", "io_uring is allowed", ""};
  if (disabled == "1" && host.HasCapability(kCapSysAdmin)) {
    return {Level::kFine, "io-uring", "io_uring is allowed for privileged programs", ""};
  }
  return {Level::kAdvice, "io-uring",
          "io_uring is not allowed; the server reads the disk with threads",
          "sysctl kernel.io_uring_disabled=0"};
}

// Slabs ask for MAP_HUGETLB pages first, and else are what the kernel makes of them.
Finding ExamineHugePages(const Host& host) {
  const std::string memory = host.Read("/proc/meminfo").value_or("");
  const size_t line = memory.find("HugePages_Free:");
  if (line != std::string::npos && std::strtoull(memory.c_str() + line + 15, nullptr, 10) > 0) {
    return {Level::kFine, "huge-pages", "there are free huge pages", ""};
  }
  const std::string transparent =
      host.Read("/sys/kernel/mm/transparent_hugepage/enabled").value_or("");
  if (transparent.find("[always]") != std::string::npos) {
    return {Level::kFine, "huge-pages", "transparent huge pages are on", ""};
  }
  return {Level::kAdvice, "huge-pages",
          "no huge pages: registered memory takes more entries of the adapter's page tables",
          "sysctl vm.nr_hugepages=160 (320 MiB)"};
}

// Whether a line of /proc/net/tcp is a listening socket at the port: "sl local_address rem_address
// st".
bool ListensAt(const std::string& table, int port) {
  std::istringstream lines(table);
  char suffix[8];
  std::snprintf(suffix, sizeof suffix, ":%04X", port);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string number, local, remote, state;
    words >> number >> local >> remote >> state;
    if (state == "0A" && local.size() > 5 && local.substr(local.size() - 5) == suffix) return true;
  }
  return false;
}

Finding ExamineServer(const Host& host) {
  const bool listens = ListensAt(host.Read("/proc/net/tcp").value_or(""), kServerPort) ||
                       ListensAt(host.Read("/proc/net/tcp6").value_or(""), kServerPort);
  for (const std::string& name : host.List("/run/rdmafs")) {
    if (name.rfind("rdmafsd.", 0) != 0) continue;
    return {Level::kFine, "server",
            absl::StrCat("rdmafsd is here (", "/run/rdmafs/", name, ")",
                         listens ? absl::StrCat(", TCP port ", kServerPort, " listens") : ""),
            ""};
  }
  if (listens)
    return {Level::kFine, "server", absl::StrCat("something listens at TCP port ", kServerPort),
            ""};
  return {Level::kAdvice, "server", "no rdmafsd runs here",
          "only to serve: systemctl start rdmafsd, or rdmafsd DIR"};
}

}  // namespace

std::vector<Finding> Examine(const Host& host, bool require_rdma) {
  std::vector<Finding> findings{ExamineKernel(host),     ExamineFuseDevice(host),
                                ExamineFusermount(host), ExamineAllowOther(host),
                                ExamineFuseUring(host),  ExamineMountHelper(host)};
  for (Finding& finding : ExamineRdma(host, require_rdma)) findings.push_back(std::move(finding));
  findings.push_back(ExamineOpenFiles(host));
  findings.push_back(ExamineIoUring(host));
  findings.push_back(ExamineHugePages(host));
  findings.push_back(ExamineServer(host));
  return findings;
}

bool AllFine(const std::vector<Finding>& findings) {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.level == Level::kMissing; });
}

}  // namespace rdmafs
