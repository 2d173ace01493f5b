// The library's memory by windows (mr=window), where there are any.
#include "tests/client/library/library_fixture.h"

namespace rdmafs::library {
namespace {

constexpr size_t kMi = 1024 * 1024;

TEST_P(LibraryTest, WithMrWindowRegisteredAndPlainMemoryIsReadToAndWrittenFrom) {
  const std::string content = Pattern(4 * kMi);
  Put("f", content);
  ASSERT_EQ(rdmafs_disconnect(fs_), 0);
  options_.mr = "window";
  fs_ = Connect();
  ASSERT_NE(fs_, nullptr);
  rdmafs_file* file = Open("f");
  std::string registered(4 * kMi, 0), plain(4 * kMi, 0);
  ASSERT_EQ(
      rdmafs_register(fs_, registered.data(), registered.size(), RDMAFS_READTO | RDMAFS_WRITEFROM),
      0);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(rdmafs_readto(file, registered.data(), 4 * kMi, 0, nullptr), int64_t{4 * kMi});
    ASSERT_EQ(rdmafs_writefrom(file, registered.data(), 4 * kMi, 0, nullptr), int64_t{4 * kMi});
    ASSERT_EQ(rdmafs_readto(file, plain.data(), 4 * kMi, 0, nullptr), int64_t{4 * kMi});
    ASSERT_EQ(rdmafs_writefrom(file, plain.data(), 4 * kMi, 0, nullptr), int64_t{4 * kMi});
  }
  EXPECT_TRUE(registered == content);
  EXPECT_TRUE(plain == content);
  EXPECT_TRUE(Get("f") == content);
  // The window is gone before the registration below it: none is kept for want of that.
  ASSERT_EQ(rdmafs_unregister(fs_, registered.data(), registered.size()), 0);
  EXPECT_EQ(Statistics().registered_bytes, 0u);
  EXPECT_EQ(rdmafs_close(file), 0);
}

}  // namespace
}  // namespace rdmafs::library
