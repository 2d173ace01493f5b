// KeyFile: a server's key file that a test writes.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "transport/auth/handshake.h"

namespace rdmafs::server {

class KeyFile {
 public:
  KeyFile() : path_(absl::StrCat(testing::TempDir(), "/server-keys.", getpid(), ".", next_++)) {}
  ~KeyFile() { std::remove(path_.c_str()); }
  KeyFile(const KeyFile&) = delete;
  KeyFile& operator=(const KeyFile&) = delete;

  // A new file takes the place of the old one, as an administrator should do it.
  void Write(const std::string& content) {
    const std::string beside = path_ + ".new";
    std::ofstream(beside) << content;
    ASSERT_EQ(chmod(beside.c_str(), 0600), 0);
    ASSERT_EQ(std::rename(beside.c_str(), path_.c_str()), 0);
  }
  const std::string& path() const { return path_; }

  // A secret of 32 times that byte, as a line of the file and as a key.
  static std::string Line(const std::string& name, uint8_t byte, const std::string& options = "") {
    std::string text = absl::StrCat(name, " ");
    for (int i = 0; i < 32; ++i) absl::StrAppend(&text, absl::Hex(byte, absl::kZeroPad2));
    return absl::StrCat(text, " ", options, "\n");
  }
  static auth::Key MakeKey(const std::string& name, uint8_t byte) {
    auth::Key key;
    key.name = name;
    key.secret.bytes().fill(byte);
    return key;
  }

 private:
  static inline int next_ = 0;
  const std::string path_;
};

}  // namespace rdmafs::server
