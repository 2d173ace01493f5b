// What a server can do no more once it has begun, and what it still can. Each in a process of its
// own.
#include "server/capabilities.h"
#include "tests/server/own_process.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace rdmafs::server {
namespace {

constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }

// A set of /proc/self/status, "CapEff" and the like.
uint64_t Set(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoull(line.substr(name.size() + 1), nullptr, 16);
  }
  return ~uint64_t{0};
}

[[noreturn]] void DropAsRoot() {
  const CapabilityNeeds needs{.low_port = true};
  const uint64_t before = Set("CapPrm"), needed = NeededCapabilities(needs);
  OR_FAIL(DropUnneededCapabilities(needs).ok());
  OR_FAIL(Set("CapPrm") == (before & needed) && Set("CapEff") == (before & needed));
  OR_FAIL((Set("CapBnd") & ~needed) == 0 && Set("CapInh") == 0 && Set("CapAmb") == 0);
  OR_FAIL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  OR_FAIL(chroot("/") != 0 && errno == EPERM);
  // Once more changes nothing, though CAP_SETPCAP is gone.
  OR_FAIL(DropUnneededCapabilities(needs).ok() && Set("CapEff") == (before & needed));
  _exit(0);
}

[[noreturn]] void DropAsUser() {
  OR_FAIL(setresgid(1001, 1001, 1001) == 0 && setresuid(1001, 1001, 1001) == 0);
  OR_FAIL(DropUnneededCapabilities({}).ok());
  OR_FAIL(Set("CapPrm") == 0 && Set("CapEff") == 0);
  OR_FAIL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
  _exit(0);
}

TEST(Capabilities, RootKeepsWhatServingNeedsAndNothingElse) {
  EXPECT_EXIT(DropAsRoot(), testing::ExitedWithCode(0), "");
}

TEST(Capabilities, AUserHasNoneAndMayServeAllTheSame) {
  EXPECT_EXIT(DropAsUser(), testing::ExitedWithCode(0), "");
}

TEST(Capabilities, PortsAndLockedMemoryAreAskedForWhereTheyAreUsed) {
  const uint64_t plain = NeededCapabilities({});
  EXPECT_EQ(plain & (Bit(CAP_NET_BIND_SERVICE) | Bit(CAP_IPC_LOCK)), 0u);
  EXPECT_EQ(NeededCapabilities({.low_port = true}), plain | Bit(CAP_NET_BIND_SERVICE));
  EXPECT_EQ(NeededCapabilities({.locked_memory = true}), plain | Bit(CAP_IPC_LOCK));
  for (int never : {CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_CHROOT,
                    CAP_KILL, CAP_SETPCAP, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_BPF, CAP_SYSLOG}) {
    EXPECT_EQ(plain & Bit(never), 0u) << never;
  }
}

}  // namespace
}  // namespace rdmafs::server
