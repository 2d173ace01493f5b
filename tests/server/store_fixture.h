// StoreTest: a posix store over a fresh directory, on tmpfs, on the build tree's file system, and
// with handles in a table. Needs root, for it acts as several users.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "server/posix_store.h"
#include "server/thread_credentials.h"

namespace rdmafs {

inline constexpr Identity kRoot{0, 0, 0, {}};
inline constexpr Identity kAlice{1001, 1001, 0, {}};
inline constexpr Identity kBob{1002, 1002, 0, {}};

struct Place {
  const char* name;
  const char* parent;
  PosixStoreOptions::Handles handles;
  friend void PrintTo(const Place& place, std::ostream* out) { *out << place.name; }
};

inline std::string Text(absl::Span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline absl::Span<const std::byte> Bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// EXPECT_EQ(ErrorOf(x), 0) tells which errno it was.
template <typename T>
int ErrorOf(const Result<T>& result) {
  return result.error().value();
}
inline int ErrorOf(Errno error) { return error.value(); }

class StoreTest : public testing::TestWithParam<Place> {
 protected:
  // What a test mounts is seen by this program only, and gone with it.
  static void SetUpTestSuite() {
    ASSERT_EQ(unshare(CLONE_NEWNS), 0) << strerror(errno);
    ASSERT_EQ(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << strerror(errno);
    // Copies of FUSE mounts that other tests have: they would keep those alive for as long as this
    // program runs.
    std::ifstream mounts("/proc/self/mounts");
    std::vector<std::string> targets;
    for (std::string source, target, type, rest;
         mounts >> source >> target >> type && std::getline(mounts, rest);) {
      if (type.starts_with("fuse.")) targets.push_back(target);
    }
    for (const std::string& target : targets) (void)umount2(target.c_str(), MNT_DETACH);
  }
  void SetUp() override {
    ASSERT_EQ(geteuid(), 0u) << "these tests act as several users and need root";
    path_ = std::string(GetParam().parent) + "/rdmafs-store-XXXXXX";
    ASSERT_NE(mkdtemp(path_.data()), nullptr) << strerror(errno);
    ASSERT_EQ(chmod(path_.c_str(), 0777), 0);
    options_.path = path_;
    options_.export_id = 7;
    options_.key = {1, 2, 3};
    options_.handles = GetParam().handles;
    options_.clock = &clock_;
    Restart();
  }
  void TearDown() override {
    ASSERT_TRUE(ThreadCredentials::OfThisThread().Restore().ok());
    store_.reset();
    std::filesystem::remove_all(path_);
  }

  // A new store over the same directory.
  void Restart() {
    ASSERT_TRUE(ThreadCredentials::OfThisThread().Restore().ok());
    store_.reset();
    auto store = PosixStore::Open(options_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto root = store_->Attach(kRoot, "");
    ASSERT_TRUE(root.ok()) << root.error().ToString();
    root_ = root->handle;
  }
  bool table() const { return options_.handles == PosixStoreOptions::Handles::kTable; }
  bool on_tmpfs() const { return std::string_view(GetParam().parent) == "/dev/shm"; }

  // A file with these bytes, made by `as`.
  StoreEntry MakeFile(const Identity& as, std::string_view name, std::string_view content = "",
                      uint32_t mode = 0644) {
    auto made = store_->Create(as, root_, name, O_WRONLY, mode, false);
    EXPECT_TRUE(made.ok()) << made.error().ToString();
    if (!made.ok()) return {};
    if (!content.empty()) {
      EXPECT_EQ(ErrorOf(Put(*made->file, content, 0, as)), 0);
    }
    return made->entry;
  }
  StoreEntry MakeDir(const Identity& as, std::string_view name, uint32_t mode = 0755) {
    auto made = store_->MkDir(as, root_, name, mode);
    EXPECT_TRUE(made.ok()) << made.error().ToString();
    return made.ok() ? *made : StoreEntry{};
  }
  static Result<uint64_t> Put(OpenFile& file, std::string_view text, uint64_t offset,
                              const Identity& as = kRoot, bool kill = false) {
    const iovec piece{const_cast<char*>(text.data()), text.size()};
    return file.Write({&piece, 1}, offset, kill, as);
  }
  static std::string Get(OpenFile& file, size_t size = 4096, uint64_t offset = 0) {
    std::string text(size, '\0');
    auto read = file.Read(absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), size), offset);
    EXPECT_TRUE(read.ok()) << read.error().ToString();
    text.resize(read.ok() ? *read : 0);
    return text;
  }
  Result<wire::Attributes> Change(const Identity& as, const wire::FileHandle& handle,
                                  wire::SetAttributes changes, OpenFile* open = nullptr) {
    return store_->SetAttr(as, handle, open, changes);
  }
  uint32_t ModeOf(const wire::FileHandle& handle) {
    auto attributes = store_->GetAttr(kRoot, handle, nullptr);
    EXPECT_TRUE(attributes.ok()) << attributes.error().ToString();
    return attributes.ok() ? attributes->mode & 07777 : 0;
  }
  // As the server's host sees it.
  std::string Host(std::string_view name) const { return path_ + "/" + std::string(name); }
  // The host's administrator does that, whoever this thread acts as.
  void HostChmod(std::string_view name, mode_t mode) {
    ThreadCredentials::ServerScope as_server;
    ASSERT_EQ(chmod(Host(name).c_str(), mode), 0) << strerror(errno);
  }
  void HostChown(std::string_view name, uid_t uid, gid_t gid) {
    ThreadCredentials::ServerScope as_server;
    ASSERT_EQ(chown(Host(name).c_str(), uid, gid), 0) << strerror(errno);
  }
  struct stat HostStat(std::string_view name) const {
    struct stat status {};
    EXPECT_EQ(lstat(Host(name).c_str(), &status), 0) << name << ": " << strerror(errno);
    return status;
  }

  MonotonicClock clock_;
  PosixStoreOptions options_;
  std::string path_;
  std::unique_ptr<PosixStore> store_;
  wire::FileHandle root_;
};

inline auto AllPlaces() {
  using Handles = PosixStoreOptions::Handles;
  return testing::Values(
      Place{"Tmpfs", "/dev/shm", Handles::kAuto}, Place{"Disk", ".", Handles::kAuto},
      Place{"DiskTable", ".", Handles::kTable}, Place{"TmpfsTable", "/dev/shm", Handles::kTable});
}
inline std::string PlaceName(const testing::TestParamInfo<Place>& place) {
  return place.param.name;
}

#define RDMAFS_IN_ALL_PLACES(Suite) INSTANTIATE_TEST_SUITE_P(On, Suite, AllPlaces(), PlaceName)

}  // namespace rdmafs
