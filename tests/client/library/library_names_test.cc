// Names through the library.
#include <sys/stat.h>

#include <set>

#include "tests/client/library/library_fixture.h"

namespace rdmafs::library {
namespace {

class LibraryNames : public LibraryTest {
 protected:
  int Stat(const char* path, int flags = 0) {
    return rdmafs_stat(fs_, path, flags, &stat_, nullptr);
  }
  struct stat stat_ {};
};

INSTANTIATE_TEST_SUITE_P(Library, LibraryNames, testing::Values("tcp"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(LibraryNames, PathsAreRelativeToTheExportAndCannotLeadOutOfIt) {
  ASSERT_EQ(rdmafs_mkdir(fs_, "a", 0755, nullptr), 0);
  ASSERT_EQ(rdmafs_mkdir(fs_, "/a/b/", 0700, nullptr), 0);
  Put("a/b/f", "x");
  for (const char* path :
       {"a/b/f", "/a/b/f", "//a/./b//f", "a/b/../b/f", "../../a/b/f", "a/../../a/b/f"})
    EXPECT_EQ(Stat(path), 0) << path;
  EXPECT_EQ(stat_.st_size, 1);
  EXPECT_EQ(Stat("/.."), 0);
  const ino_t above = stat_.st_ino;
  EXPECT_EQ(Stat("/"), 0);
  EXPECT_EQ(stat_.st_ino, above);
  EXPECT_EQ(Stat(""), -ENOENT);
  EXPECT_EQ(Stat(nullptr), -EINVAL);
  EXPECT_EQ(Stat("a/b/f/g"), -ENOTDIR);
  EXPECT_EQ(Stat("a/c"), -ENOENT);
  EXPECT_EQ(Stat(std::string(256, 'x').c_str()), -ENAMETOOLONG);
  EXPECT_EQ(Stat(std::string(5000, '/').c_str()), -ENAMETOOLONG);
}

TEST_P(LibraryNames, LinksAreFollowedInsideTheExport) {
  ASSERT_EQ(rdmafs_mkdir(fs_, "d", 0755, nullptr), 0);
  Put("d/f", "content");
  ASSERT_EQ(rdmafs_symlink(fs_, "f", "d/relative", nullptr), 0);
  ASSERT_EQ(rdmafs_symlink(fs_, "/d/f", "absolute", nullptr), 0);
  ASSERT_EQ(rdmafs_symlink(fs_, "../../../d", "d/up", nullptr), 0);
  ASSERT_EQ(rdmafs_symlink(fs_, "loop", "loop", nullptr), 0);
  for (const char* path : {"d/relative", "absolute", "d/up/f", "d/up/up/relative"}) {
    EXPECT_EQ(Stat(path), 0) << path;
    EXPECT_EQ(stat_.st_size, 7) << path;
  }
  EXPECT_EQ(Stat("absolute", RDMAFS_NOFOLLOW), 0);
  EXPECT_TRUE(S_ISLNK(stat_.st_mode));
  EXPECT_EQ(Stat("loop"), -ELOOP);
  char target[100];
  EXPECT_EQ(rdmafs_readlink(fs_, "absolute", target, sizeof target), 4);
  EXPECT_EQ(std::string(target, 4), "/d/f");
  EXPECT_EQ(rdmafs_readlink(fs_, "d/f", target, sizeof target), -EINVAL);
}

TEST_P(LibraryNames, NamesAreMadeMovedAndRemoved) {
  rdmafs_file* file = nullptr;
  ASSERT_EQ(rdmafs_create(fs_, "f", O_RDWR, 0640, &file, nullptr), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(rdmafs_create(fs_, "f", O_RDWR, 0640, &file, nullptr), -EEXIST);
  EXPECT_EQ(Stat("f"), 0);
  EXPECT_EQ(stat_.st_mode, S_IFREG | 0640u);
  EXPECT_EQ(rdmafs_link(fs_, "f", "g", nullptr), 0);
  EXPECT_EQ(rdmafs_rename(fs_, "g", "h", 0, nullptr), 0);
  EXPECT_EQ(rdmafs_rename(fs_, "h", "f", 1 /* RENAME_NOREPLACE */, nullptr), -EEXIST);
  EXPECT_EQ(Stat("h"), 0);
  EXPECT_EQ(stat_.st_nlink, 2u);
  EXPECT_EQ(rdmafs_chmod(fs_, "h", 0600, nullptr), 0);
  EXPECT_EQ(rdmafs_truncate(fs_, "h", 1000, nullptr), 0);
  EXPECT_EQ(Stat("f"), 0);
  EXPECT_EQ(stat_.st_size, 1000);
  EXPECT_EQ(stat_.st_mode & 07777, 0600u);
  EXPECT_EQ(rdmafs_unlink(fs_, "h", nullptr), 0);
  EXPECT_EQ(rdmafs_unlink(fs_, "f", nullptr), 0);
  EXPECT_EQ(rdmafs_unlink(fs_, "f", nullptr), -ENOENT);
  EXPECT_EQ(rdmafs_unlink(fs_, "..", nullptr), -EINVAL);
  EXPECT_EQ(rdmafs_mkdir(fs_, "d", 0755, nullptr), 0);
  EXPECT_EQ(rdmafs_mkdir(fs_, "d", 0755, nullptr), -EEXIST);
  EXPECT_EQ(rdmafs_rmdir(fs_, "d", nullptr), 0);
  struct statvfs file_system;
  EXPECT_EQ(rdmafs_statvfs(fs_, &file_system, nullptr), 0);
  EXPECT_GT(file_system.f_blocks, 0u);
}

TEST_P(LibraryNames, OpenMakesFollowsAndRefusesAsOpen2Does) {
  rdmafs_file* file = nullptr;
  EXPECT_EQ(rdmafs_open(fs_, "f", O_RDONLY, 0, &file, nullptr), -ENOENT);
  ASSERT_EQ(rdmafs_symlink(fs_, "made", "dangling", nullptr), 0);
  EXPECT_EQ(rdmafs_open(fs_, "dangling", O_RDWR | O_CREAT | O_EXCL, 0644, &file, nullptr), -EEXIST);
  EXPECT_EQ(rdmafs_open(fs_, "dangling", O_RDONLY | O_NOFOLLOW, 0, &file, nullptr), -ELOOP);
  ASSERT_EQ(rdmafs_open(fs_, "dangling", O_RDWR | O_CREAT, 0644, &file, nullptr), 0);
  EXPECT_EQ(rdmafs_writefrom(file, "text", 4, 0, nullptr), 4);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(Get("made"), "text");
  ASSERT_EQ(rdmafs_open(fs_, "made", O_RDWR | O_TRUNC, 0, &file, nullptr), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(Get("made"), "");
  EXPECT_EQ(rdmafs_open(fs_, "/", O_RDONLY, 0, &file, nullptr), -EISDIR);
  ASSERT_EQ(rdmafs_open(fs_, "made", O_WRONLY | O_APPEND, 0, &file, nullptr), 0);
  EXPECT_EQ(rdmafs_writefrom(file, "one", 3, 0, nullptr), 3);
  EXPECT_EQ(rdmafs_writefrom(file, "two", 3, 0, nullptr), 3);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(Get("made"), "onetwo");
}

TEST_P(LibraryNames, ANodeStaysTheSameObjectWhateverItsName) {
  Put("f", "one");
  rdmafs_node* node = nullptr;
  ASSERT_EQ(rdmafs_resolve(fs_, "f", 0, &node, nullptr), 0);
  ASSERT_EQ(rdmafs_rename(fs_, "f", "g", 0, nullptr), 0);
  Put("f", "another");
  ASSERT_EQ(rdmafs_node_stat(node, &stat_, nullptr), 0);
  EXPECT_EQ(stat_.st_size, 3);
  rdmafs_file* file = nullptr;
  ASSERT_EQ(rdmafs_open_node(node, O_RDONLY, &file, nullptr), 0);
  char text[10];
  EXPECT_EQ(rdmafs_readto(file, text, sizeof text, 0, nullptr), 3);
  EXPECT_EQ(rdmafs_close(file), 0);
  EXPECT_EQ(rdmafs_disconnect(fs_), -EBUSY) << "a node is held";
  rdmafs_node_free(node);
}

TEST_P(LibraryNames, OpenFilesHaveAttributesHolesAndLengths) {
  rdmafs_file* file = Open("f", O_RDWR | O_CREAT);
  EXPECT_EQ(rdmafs_ftruncate(file, 1 << 20, nullptr), 0);
  EXPECT_EQ(rdmafs_writefrom(file, "x", 1, 512 << 10, nullptr), 1);
  EXPECT_EQ(rdmafs_fstat(file, &stat_, nullptr), 0);
  EXPECT_EQ(stat_.st_size, 1 << 20);
  EXPECT_EQ(rdmafs_seek(file, 0, SEEK_DATA, nullptr), 512 << 10);
  EXPECT_EQ(rdmafs_seek(file, 2 << 20, SEEK_DATA, nullptr), -ENXIO);
  EXPECT_EQ(rdmafs_seek(file, 0, SEEK_SET, nullptr), -EINVAL);
  EXPECT_EQ(rdmafs_fallocate(file, 0, 0, 2 << 20, nullptr), 0);
  EXPECT_EQ(rdmafs_fstat(file, &stat_, nullptr), 0);
  EXPECT_EQ(stat_.st_size, 2 << 20);
  EXPECT_EQ(rdmafs_fsync(file, 1, nullptr), 0);
  EXPECT_EQ(rdmafs_close(file), 0);
}

TEST_P(LibraryNames, ADirectoryIsListedToItsEnd) {
  std::set<std::string> names{".", ".."};
  ASSERT_EQ(rdmafs_mkdir(fs_, "d", 0755, nullptr), 0);
  for (int i = 0; i < 3000; ++i) {
    const std::string name = std::string(static_cast<size_t>(1 + i % 200), 'n') + std::to_string(i);
    Put("d/" + name, "");
    names.insert(name);
  }
  rdmafs_dir* dir = nullptr;
  ASSERT_EQ(rdmafs_opendir(fs_, "d", &dir), 0);
  rdmafs_dirent entry;
  int got;
  while ((got = rdmafs_readdir(dir, &entry)) == 1)
    EXPECT_EQ(names.erase(entry.name), 1u) << entry.name;
  EXPECT_EQ(got, 0);
  EXPECT_EQ(rdmafs_readdir(dir, &entry), 0) << "the end stays the end";
  EXPECT_TRUE(names.empty());
  EXPECT_EQ(rdmafs_closedir(dir), 0);
  EXPECT_EQ(rdmafs_opendir(fs_, "d/n0", &dir), -ENOTDIR);
}

TEST_P(LibraryNames, WhatIsWrongWithAConnectionIsSaid) {
  rdmafs_fs* fs = nullptr;
  char why[200];
  EXPECT_EQ(rdmafs_connect("nonsense", nullptr, &fs, why, sizeof why), -EINVAL);
  EXPECT_NE(std::string(why).find("HOST:DIR"), std::string::npos);
  rdmafs_options options;
  rdmafs_options_init(&options);
  options.transport = "pigeon";
  EXPECT_EQ(rdmafs_connect("127.0.0.1:/", &options, &fs, why, sizeof why), -EINVAL);
  options.transport = "tcp";
  options.mr_cache = "sometimes";
  EXPECT_EQ(rdmafs_connect("127.0.0.1:/", &options, &fs, why, sizeof why), -EINVAL);
  EXPECT_NE(std::string(why).find("mr_cache"), std::string::npos);
  options.mr_cache = "uffd";
  options.mr = "doors";
  EXPECT_EQ(rdmafs_connect("127.0.0.1:/", &options, &fs, why, sizeof why), -EINVAL);
  EXPECT_STREQ(why, "mr is not cache or window");
  options.mr = "window";
  options.port = 1;
  EXPECT_EQ(rdmafs_connect("127.0.0.1:/", &options, &fs, why, 5), -ENOTCONN);
  EXPECT_EQ(std::strlen(why), 4u) << "cut off, with its 0 byte";
  EXPECT_EQ(fs, nullptr);
}

}  // namespace
}  // namespace rdmafs::library
