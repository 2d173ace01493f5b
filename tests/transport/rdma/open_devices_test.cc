// OpenDevices and DeviceWatch: when a device file is taken away, and who then lets go of it. The
// files are nodes of /dev/zero in a directory of the test's own, which takes root to make.
#include "transport/rdma/open_devices.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/synchronization/notification.h"
#include "transport/base/unique_fd.h"
#include "transport/rdma/removal_notice.h"

namespace rdmafs::rdma {
namespace {

constexpr absl::Duration kLong = absl::Seconds(20);

// A context with its two files, as librdmacm has them.
class FakeContext {
 public:
  explicit FakeContext(const std::string& path)
      : command_(open(path.c_str(), O_RDWR | O_CLOEXEC)),
        async_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    Reopen();
  }
  // As the next context at this address, with other descriptors.
  void Become(FakeContext&& other) {
    command_ = std::move(other.command_);
    async_ = std::move(other.async_);
    Reopen();
  }
  ibv_context& get() { return context_; }
  bool valid() const { return command_.valid() && async_.valid(); }
  bool closed() const { return IsNothing(command_.get()) && IsNothing(async_.get()); }

 private:
  static bool IsNothing(int fd) {
    struct stat status {};
    return fstat(fd, &status) == 0 && status.st_rdev == makedev(1, 3);
  }
  void Reopen() {
    context_.cmd_fd = command_.get();
    context_.async_fd = async_.get();
  }

  UniqueFd command_, async_;
  ibv_context context_{};
};

class OpenDevicesTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/dev/rdmafs-devices-XXXXXX";  // where nodes can be opened for sure
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    ASSERT_EQ(mknod(path("probe").c_str(), S_IFCHR | 0600, makedev(1, 5)), 0) << "it takes root";
    devices_ = std::make_shared<OpenDevices>(directory_);
  }
  ~OpenDevicesTest() override {
    devices_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  FakeContext Open(const std::string& name) {
    (void)mknod(path(name).c_str(), S_IFCHR | 0600, makedev(1, 5));
    return FakeContext(path(name));
  }
  // Returns when the watch has seen to it: what was added last is told last.
  void TakeAway(const std::string& name) {
    const UniqueFd probe(open(path(name).c_str(), O_RDWR | O_CLOEXEC));
    absl::Notification seen;
    const int id = devices_->watch().Add(probe.get(), [&] { seen.Notify(); });
    unlink(path(name).c_str());
    EXPECT_TRUE(seen.WaitForNotificationWithTimeout(kLong));
    devices_->watch().Remove(id);
  }

  std::string directory_;
  std::shared_ptr<OpenDevices> devices_;
};

TEST_F(OpenDevicesTest, WhatNobodyUsesIsClosedWhenItIsRemoved) {
  FakeContext context = Open("uverbs0");
  devices_->Know(context.get());
  TakeAway("uverbs0");
  EXPECT_TRUE(context.closed());
}

TEST_F(OpenDevicesTest, WhatIsRemovedBeforeItIsKnownIsClosed) {
  FakeContext context = Open("uverbs0"), other = Open("uverbs1");
  unlink(path("uverbs0").c_str());
  devices_->Know(context.get());
  TakeAway("uverbs1");  // the watch has looked since
  EXPECT_TRUE(context.closed());
}

TEST_F(OpenDevicesTest, WhatIsUsedIsClosedByItsLastUser) {
  FakeContext context = Open("uverbs0");
  auto first = devices_->Use(context.get()), second = devices_->Use(context.get());
  TakeAway("uverbs0");
  first.reset();
  EXPECT_FALSE(context.closed());
  EXPECT_EQ(devices_->Use(context.get()), nullptr);
  second.reset();
  EXPECT_TRUE(context.closed());
}

TEST_F(OpenDevicesTest, AnotherDeviceStaysOpen) {
  FakeContext context = Open("uverbs0"), other = Open("uverbs1");
  devices_->Know(context.get());
  devices_->Know(other.get());
  TakeAway("uverbs0");
  EXPECT_FALSE(other.closed());
  EXPECT_NE(devices_->Use(other.get()), nullptr);
}

TEST_F(OpenDevicesTest, WhatRdmaCmSaysIsRemovedIsNotUsedAnyMore) {
  FakeContext context = Open("uverbs0");
  devices_->Know(context.get());
  devices_->Forget(&context.get());
  EXPECT_EQ(devices_->Use(context.get()), nullptr);
}

// So it is where rdma_cm was loaded after ib_uverbs.
TEST_F(OpenDevicesTest, WhatRdmaCmSaysIsRemovedIsClosedWhenItsFileGoes) {
  FakeContext context = Open("uverbs0"), used = Open("uverbs1");
  devices_->Know(context.get());
  auto use = devices_->Use(used.get());
  devices_->Forget(&context.get());
  devices_->Forget(&used.get());
  use.reset();
  EXPECT_FALSE(context.closed()) << "whether the kernel waits for it is not known yet";
  EXPECT_FALSE(used.closed());
  TakeAway("uverbs0");
  EXPECT_TRUE(context.closed());
  TakeAway("uverbs1");
  EXPECT_TRUE(used.closed());
}

TEST_F(OpenDevicesTest, AClosedContextCannotBeUsed) {
  FakeContext context = Open("uverbs0");
  devices_->Know(context.get());
  TakeAway("uverbs0");
  devices_->Know(context.get());
  EXPECT_EQ(devices_->Use(context.get()), nullptr);
}

TEST_F(OpenDevicesTest, ANewContextAtAnOldAddressIsWatched) {
  FakeContext context = Open("uverbs0");
  devices_->Know(context.get());
  FakeContext next = Open("uverbs1");
  context.Become(std::move(next));  // librdmacm has closed the old one by itself
  devices_->Know(context.get());
  TakeAway("uverbs1");
  EXPECT_TRUE(context.closed());
}

TEST_F(OpenDevicesTest, ADeviceInADirectoryThatWasMadeAnewIsWatched) {
  FakeContext old = Open("uverbs0");
  devices_->Know(old.get());
  std::filesystem::remove_all(directory_);
  std::filesystem::create_directory(directory_);
  FakeContext context = Open("uverbs0");
  devices_->Know(context.get());
  TakeAway("uverbs0");
  EXPECT_TRUE(context.closed());
}

TEST_F(OpenDevicesTest, ANoticeComesOnItsLoopAndNotAfterItsEnd) {
  FakeContext context = Open("uverbs0");
  MonotonicClock clock;
  EventLoop loop(clock);
  int told_count = 0;
  RemovalNotice kept(devices_->watch(), context.get().cmd_fd, loop, [&] { ++told_count; });
  {
    RemovalNotice ended(devices_->watch(), context.get().cmd_fd, loop, [&] { told_count += 100; });
    TakeAway("uverbs0");
  }
  EXPECT_EQ(told_count, 0);
  (void)loop.RunOnce(0);
  EXPECT_EQ(told_count, 1);
}

}  // namespace
}  // namespace rdmafs::rdma
