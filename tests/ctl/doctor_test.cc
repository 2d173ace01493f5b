// The doctor on made-up hosts: a tree of files below a temporary root.
#include "ctl/doctor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace rdmafs {
namespace {

using Level = Finding::Level;

constexpr char kLimits[] =
    "Limit                     Soft Limit           Hard Limit           Units     \n"
    "Max locked memory         8388608              8388608              bytes     \n"
    "Max open files            1024                 1048576              files     \n";
constexpr char kTcpHeader[] = "  sl  local_address rem_address   st tx_queue rx_queue\n";

class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    char name[] = "/tmp/rdmafs-doctor.XXXXXX";
    root_ = ::mkdtemp(name);
    // A host that has all but RDMA and a server.
    Write("/proc/sys/kernel/osrelease", "6.14.0-1-amd64\n");
    Write("/proc/self/limits", kLimits);
    Write("/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
    Write("/proc/sys/kernel/io_uring_disabled", "0\n");
    Write("/proc/meminfo", "HugePages_Total:       0\nHugePages_Free:        0\n");
    Write("/proc/net/tcp", kTcpHeader);
    Write("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
    Write("/sys/module/fuse/parameters/enable_uring", "Y\n");
    Write("/dev/fuse", "");
    Write("/usr/bin/fusermount3", "");
    Write("/etc/fuse.conf", "# comment\nuser_allow_other\n");
    Write("/sbin/mount.fuse.rdmafs", "");
  }
  ~DoctorTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  void Remove(const std::string& path) { std::filesystem::remove(root_ + path); }

  void AddDevice(const char* state) {
    const std::string port = "/sys/class/infiniband/rxe0/ports/1/";
    Write(port + "state", state);
    Write(port + "link_layer", "Ethernet\n");
    Write(port + "rate", "100 Gb/sec (4X EDR)\n");
    Write("/dev/infiniband/rdma_cm", "");
    Write("/dev/infiniband/uverbs0", "");
  }

  Finding Find(const std::string& topic, bool require_rdma = false) {
    for (Finding& finding : Examine(Host(root_), require_rdma)) {
      if (finding.topic == topic) return finding;
    }
    ADD_FAILURE() << "nothing about " << topic;
    return {};
  }
  Level LevelOf(const std::string& topic, bool require_rdma = false) {
    return Find(topic, require_rdma).level;
  }

  std::string root_;
};

TEST_F(DoctorTest, AHostWithoutRdmaIsFineWithTheAdviceThatMountsRunOverTcp) {
  EXPECT_TRUE(AllFine(Examine(Host(root_), false)));
  EXPECT_EQ(LevelOf("rdma-device"), Level::kAdvice);
  EXPECT_NE(Find("rdma-device").text.find("TCP"), std::string::npos);
}

TEST_F(DoctorTest, WhoAsksForRdmaIsToldThatItIsMissing) {
  EXPECT_FALSE(AllFine(Examine(Host(root_), true)));
  for (const char* topic : {"rdma-device", "rdma-nodes", "memlock"})
    EXPECT_EQ(LevelOf(topic, true), Level::kMissing);
}

TEST_F(DoctorTest, WhateverIsNotFineHasARemedy) {
  for (const Finding& finding : Examine(Host(root_ + "/none"), true)) {
    EXPECT_EQ(finding.remedy.empty(), finding.level == Level::kFine) << finding.topic;
  }
}

TEST_F(DoctorTest, NoFuseDeviceIsMissing) {
  Remove("/dev/fuse");
  EXPECT_EQ(LevelOf("fuse-device"), Level::kMissing);
  EXPECT_FALSE(AllFine(Examine(Host(root_), false)));
}

TEST_F(DoctorTest, FusermountIsMissingForUsersButOnlyAdvisedToRoot) {
  Remove("/usr/bin/fusermount3");
  EXPECT_EQ(LevelOf("fusermount3"), Level::kMissing);
  Write("/proc/self/status", "CapEff:\t000001ffffffffff\n");
  EXPECT_EQ(LevelOf("fusermount3"), Level::kAdvice);
}

TEST_F(DoctorTest, ACommentedUserAllowOtherDoesNotCount) {
  Write("/etc/fuse.conf", "#user_allow_other\n# user_allow_other\n");
  EXPECT_EQ(LevelOf("user-allow-other"), Level::kAdvice);
}

TEST_F(DoctorTest, FuseOverIoUringIsToldApartOffFromAbsent) {
  Write("/sys/module/fuse/parameters/enable_uring", "N\n");
  EXPECT_NE(Find("fuse-io-uring").remedy.find("echo Y"), std::string::npos);
  Remove("/sys/module/fuse/parameters/enable_uring");
  EXPECT_NE(Find("fuse-io-uring").remedy.find("6.14"), std::string::npos);
}

TEST_F(DoctorTest, AnActivePortIsShownWithItsLinkLayerAndRate) {
  AddDevice("4: ACTIVE\n");
  const Finding finding = Find("rdma-device");
  EXPECT_EQ(finding.level, Level::kFine);
  EXPECT_EQ(finding.text, "rxe0 port 1 (Ethernet, 100 Gb/sec (4X EDR), 4: ACTIVE)");
}

TEST_F(DoctorTest, ADeviceThatIsDownIsMissing) {
  AddDevice("1: DOWN\n");
  EXPECT_EQ(LevelOf("rdma-device"), Level::kMissing);
}

TEST_F(DoctorTest, WithADeviceALowMemlockIsMissingUnlessPrivileged) {
  AddDevice("4: ACTIVE\n");
  EXPECT_EQ(LevelOf("memlock"), Level::kMissing);
  Write("/proc/self/status", "CapEff:\t0000000000004000\n");
  EXPECT_EQ(LevelOf("memlock"), Level::kFine);
}

TEST_F(DoctorTest, AnUnlimitedMemlockIsFine) {
  AddDevice("4: ACTIVE\n");
  Write("/proc/self/limits",
        "Max locked memory         unlimited            unlimited            bytes\n");
  EXPECT_EQ(LevelOf("memlock"), Level::kFine);
}

TEST_F(DoctorTest, MissingDeviceNodesAreNamed) {
  AddDevice("4: ACTIVE\n");
  Remove("/dev/infiniband/rdma_cm");
  EXPECT_EQ(LevelOf("rdma-nodes"), Level::kMissing);
  EXPECT_NE(Find("rdma-nodes").text.find("/dev/infiniband/rdma_cm"), std::string::npos);
}

TEST_F(DoctorTest, ADropInThatLimitsTheUnitsMemoryIsSeen) {
  Write("/lib/systemd/system/rdmafsd.service", "[Service]\nLimitMEMLOCK=infinity\n");
  EXPECT_EQ(LevelOf("memlock-unit", true), Level::kFine);
  Write("/etc/systemd/system/rdmafsd.service.d/x.conf", "[Service]\nLimitMEMLOCK=64K\n");
  EXPECT_EQ(LevelOf("memlock-unit", true), Level::kMissing);
  EXPECT_NE(Find("memlock-unit", true).text.find("64K"), std::string::npos);
}

TEST_F(DoctorTest, AFewOpenFilesAndNoIoUringAreAdvice) {
  Write("/proc/self/limits",
        "Max open files            1024                 4096                 files\n");
  Write("/proc/sys/kernel/io_uring_disabled", "2\n");
  EXPECT_EQ(LevelOf("nofile"), Level::kAdvice);
  EXPECT_EQ(LevelOf("io-uring"), Level::kAdvice);
}

TEST_F(DoctorTest, AnOldKernelIsSaid) {
  Write("/proc/sys/kernel/osrelease", "4.19.0\n");
  EXPECT_EQ(LevelOf("kernel"), Level::kAdvice);
  EXPECT_EQ(LevelOf("io-uring"), Level::kAdvice);
}

TEST_F(DoctorTest, FreeHugePagesOrTransparentOnesAreFine) {
  Write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  EXPECT_EQ(LevelOf("huge-pages"), Level::kAdvice);
  Write("/proc/meminfo", "HugePages_Free:       12\n");
  EXPECT_EQ(LevelOf("huge-pages"), Level::kFine);
}

TEST_F(DoctorTest, AServerIsFoundByItsSocketOrByItsPort) {
  EXPECT_EQ(LevelOf("server"), Level::kAdvice);
  Write("/proc/net/tcp", std::string(kTcpHeader) + "   0: 0100007F:500A 00000000:0000 0A 0:0\n");
  EXPECT_EQ(LevelOf("server"), Level::kFine);
  Write("/proc/net/tcp", std::string(kTcpHeader) + "   0: 0100007F:500A 0100007F:9999 01 0:0\n");
  EXPECT_EQ(LevelOf("server"), Level::kAdvice);
  Write("/run/rdmafs/rdmafsd.77", "");
  EXPECT_EQ(LevelOf("server"), Level::kFine);
}

TEST_F(DoctorTest, FilesFullOfRubbishDoNoHarm) {
  const std::string rubbish(100000, '\xfe');
  for (const char* path :
       {"/proc/sys/kernel/osrelease", "/proc/self/limits", "/proc/self/status", "/proc/net/tcp",
        "/etc/fuse.conf", "/sys/class/infiniband/x/ports/1/state"}) {
    Write(path, rubbish);
  }
  EXPECT_FALSE(Examine(Host(root_), false).empty());
}

}  // namespace
}  // namespace rdmafs
