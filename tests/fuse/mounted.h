// Mounted: rdmafs-local on a temporary directory, for as long as a test runs.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace rdmafs::fuse {

// Runs `arguments`, returns the exit status (128 + signal), and what it wrote to standard error.
struct Ran {
  int status;
  std::string error;
};
Ran RunProgram(const std::vector<std::string>& arguments);

// A directory, and a mount of it by the program under test, which becomes this process's child.
// Needs root and /dev/fuse. Unmounted at the end, whatever happened.
class Mounted {
 public:
  // Fails the test when it does not mount.
  explicit Mounted(const std::string& options = "");
  ~Mounted();
  Mounted(const Mounted&) = delete;
  Mounted& operator=(const Mounted&) = delete;

  // A path below the mount, and the same one below the directory.
  std::string at(const std::string& name) const { return mount_point_ + "/" + name; }
  std::string below(const std::string& name) const { return directory_ + "/" + name; }
  const std::string& mount_point() const { return mount_point_; }

  // The mount program's process.
  pid_t process() const { return process_; }
  bool IsMounted() const;
  // umount(2) with these flags; 0 or an errno.
  int Unmount(int flags = 0);
  // The program's exit status once it has ended; -1 when it did not within 10 s.
  int WaitForExit();

 private:
  std::string directory_, mount_point_;
  pid_t process_ = -1;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.flush();
  EXPECT_TRUE(file.good()) << path;
}

}  // namespace rdmafs::fuse
