// Host: the files that tell what this machine can do, below a root that tests may choose.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rdmafs {

// Reads anew with every call; nothing is cached. Owned by one thread. Blocks on the file system.
class Host {
 public:
  // "" is the machine itself.
  explicit Host(std::string root) : root_(std::move(root)) {}

  // The file's first 64 KiB without blanks at its end; nullopt when it cannot be read.
  std::optional<std::string> Read(const std::string& path) const;
  // Names in a directory, sorted; none when it is not there.
  std::vector<std::string> List(const std::string& path) const;
  bool Exists(const std::string& path) const;
  bool Usable(const std::string& path) const;  // read and write permission for this user

  // "6.1" as {6, 1}; {0, 0} when unknown.
  std::pair<int, int> KernelVersion() const;
  // The named line of /proc/self/limits; UINT64_MAX is unlimited, nullopt unknown.
  struct Limit {
    uint64_t soft, hard;
  };
  std::optional<Limit> ReadLimit(const std::string& name) const;
  // Whether this process has the capability (its number in capabilities(7)).
  bool HasCapability(int number) const;

 private:
  const std::string root_;
};

}  // namespace rdmafs
