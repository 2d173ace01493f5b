// HandleKey: made once, read again, refused when others could know it.
#include "server/handle_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace rdmafs {
namespace {

using testing::HasSubstr;

class HandleKeyTest : public testing::Test {
 protected:
  void SetUp() override {
    parent_ = testing::TempDir() + "/rdmafs-key-XXXXXX";
    ASSERT_NE(mkdtemp(parent_.data()), nullptr);
    directory_ = parent_ + "/state";
    file_ = directory_ + "/handle.key";
  }
  void TearDown() override { std::filesystem::remove_all(parent_); }
  std::string Error() { return std::string(LoadOrCreateHandleKey(directory_).status().message()); }

  std::string parent_, directory_, file_;
};

TEST_F(HandleKeyTest, IsMadeOnceAndKeptPrivate) {
  auto first = LoadOrCreateHandleKey(directory_), second = LoadOrCreateHandleKey(directory_);
  ASSERT_TRUE(first.ok() && second.ok()) << first.status();
  EXPECT_EQ(*first, *second);
  EXPECT_NE(*first, HandleKey{});
  struct stat status;
  ASSERT_EQ(stat(file_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
  ASSERT_EQ(stat(directory_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_))
    ++files;
  EXPECT_EQ(files, 1u);
}

TEST_F(HandleKeyTest, IsRefusedWhenOthersMayReadIt) {
  ASSERT_TRUE(LoadOrCreateHandleKey(directory_).ok());
  ASSERT_EQ(chmod(file_.c_str(), 0640), 0);
  EXPECT_THAT(Error(), HasSubstr("must be a file of mode 0600"));
}

TEST_F(HandleKeyTest, IsRefusedWhenCutShort) {
  ASSERT_TRUE(LoadOrCreateHandleKey(directory_).ok());
  ASSERT_EQ(truncate(file_.c_str(), 31), 0);
  EXPECT_THAT(Error(), HasSubstr("is not a key of 32 bytes"));
}

TEST_F(HandleKeyTest, IsNotReadThroughASymlink) {
  ASSERT_EQ(mkdir(directory_.c_str(), 0700), 0);
  ASSERT_EQ(symlink("/etc/passwd", file_.c_str()), 0);
  EXPECT_THAT(Error(), HasSubstr("ELOOP"));
}

TEST_F(HandleKeyTest, ADirectoryThatCannotBeMadeIsNamed) {
  directory_ = "/proc/rdmafs-state";
  EXPECT_THAT(Error(), HasSubstr("/proc/rdmafs-state"));
}

TEST(RandomHandleKey, IsAnotherEachTime) { EXPECT_NE(RandomHandleKey(), RandomHandleKey()); }

}  // namespace
}  // namespace rdmafs
