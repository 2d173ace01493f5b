#include "server/state_directory.h"

#include <cstdio>

#include "absl/strings/str_cat.h"

namespace rdmafs::server {

std::string StateDirectory::File(const char* name, uint16_t port) const {
  return absl::StrCat(path_, "/", name, ".", port);
}

void StateDirectory::NameAfter(uint16_t port) const {
  if (port_ != 0) return;
  for (const char* name : {kLockHolders, kCalls}) {
    // What is not there has no name to be given.
    (void)rename(File(name, 0).c_str(), File(name, port).c_str());
  }
}

}  // namespace rdmafs::server
