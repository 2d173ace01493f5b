// Key files: several named keys, a line each, that only their owner may read.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "transport/auth/handshake.h"

namespace rdmafs::auth {

inline constexpr char kDefaultKeyFile[] = "/etc/rdmafs/keys";  // on both sides
inline constexpr size_t kMaxKeyFileBytes = 256 << 10;
inline constexpr size_t kMaxKeys = 1024;

// "NAME SECRET [OPTIONS]" on each line; '#' begins a comment. SECRET is 32 bytes in base64 or in
// hexadecimal. At least one key, no name twice. `file` is for the message, one line that begins
// with file:line and never has any of a secret in it.
absl::StatusOr<std::vector<Key>> ParseKeys(std::string_view text, const std::string& file);

// A string that is wiped when it goes.
struct SecretText {
  SecretText() = default;
  SecretText(SecretText&& other) noexcept { std::swap(text, other.text); }
  SecretText& operator=(SecretText&& other) noexcept {
    std::swap(text, other.text);
    return *this;
  }
  ~SecretText();

  std::string text;
};

// The content of a regular file of mode 0600 or less that belongs to the calling user or to root;
// at most kMaxKeyFileBytes. Blocks.
absl::StatusOr<SecretText> ReadSecretFile(const std::string& file);

// The keys of such a file, kMaxKeys at most. Blocks.
absl::StatusOr<std::vector<Key>> LoadKeys(const std::string& file);

// What changes whenever the file does: device, inode, size and times of it; "" where there is none.
// Blocks.
std::string KeyFileStamp(const std::string& file);

}  // namespace rdmafs::auth
