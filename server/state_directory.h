// StateDirectory: where a server keeps what outlives it, by the port that it serves.
#pragma once

#include <cstdint>
#include <string>

namespace rdmafs::server {

class StateDirectory {
 public:
  // `path` "": /var/lib/rdmafs. `port` 0: the server takes any, and tells which with NameAfter().
  StateDirectory(const std::string& path, uint16_t port)
      : path_(path.empty() ? "/var/lib/rdmafs" : path), port_(port) {}

  std::string lock_holders() const { return File(kLockHolders, port_); }
  std::string calls() const { return File(kCalls, port_); }
  // The next process will be asked for the port that this one was given.
  void NameAfter(uint16_t port) const;

 private:
  static constexpr const char* kLockHolders = "lock-holders";
  static constexpr const char* kCalls = "calls";
  std::string File(const char* name, uint16_t port) const;

  const std::string path_;
  const uint16_t port_;
};

}  // namespace rdmafs::server
