#include "transport/auth/key_file.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::auth {
namespace {

std::optional<Secret> ParseSecret(absl::string_view word) {
  Secret secret;
  if (word.size() == 2 * Secret::kBytes) {
    if (!std::all_of(word.begin(), word.end(), absl::ascii_isxdigit)) return std::nullopt;
    for (uint8_t& byte : secret.bytes()) {
      uint32_t value = 0;
      if (!absl::SimpleHexAtoi(word.substr(0, 2), &value)) return std::nullopt;
      byte = static_cast<uint8_t>(value);
      word.remove_prefix(2);
    }
    return secret;
  }
  SecretText bytes;
  if (!absl::Base64Unescape(word, &bytes.text) || bytes.text.size() != Secret::kBytes)
    return std::nullopt;
  std::copy(bytes.text.begin(), bytes.text.end(), secret.bytes().begin());
  return secret;
}

absl::StatusOr<Key> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  Key key;
  key.name = std::string(words[0]);
  // It could be a secret that stands in the wrong place: so it is not repeated.
  if (!IsKeyName(key.name)) {
    return absl::InvalidArgumentError(
        "the name of a key has 1 to 63 letters, digits and any of . _ @ -");
  }
  if (words.size() < 2) return absl::InvalidArgumentError("a secret is missing behind the name");
  if (words.size() > 3) return absl::InvalidArgumentError("more than a name, a secret and options");
  const std::optional<Secret> secret = ParseSecret(words[1]);
  if (!secret) {
    return absl::InvalidArgumentError(
        "the secret is not 32 bytes in base64 or hexadecimal (head -c 32 /dev/urandom | base64)");
  }
  key.secret = *secret;
  if (words.size() == 3) key.options = std::string(words[2]);
  return key;
}

absl::Status Failed(const std::string& file, int error) {
  return absl::FailedPreconditionError(absl::StrCat(file, ": ", Errno(error).ToString()));
}

}  // namespace

absl::StatusOr<std::vector<Key>> ParseKeys(std::string_view text, const std::string& file) {
  std::vector<Key> keys;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    absl::StatusOr<Key> key = ParseLine(line);
    const auto fault = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(file, ":", number, ": ", what));
    };
    if (!key.ok()) return fault(key.status().message());
    for (const Key& other : keys) {
      if (other.name == key->name) return fault(absl::StrCat("a second key '", key->name, "'"));
    }
    if (keys.size() == kMaxKeys) return fault(absl::StrCat("more than ", kMaxKeys, " keys"));
    keys.push_back(*std::move(key));
  }
  if (keys.empty())
    return absl::InvalidArgumentError(absl::StrCat(file, ": there is no key in it"));
  return keys;
}

SecretText::~SecretText() { OPENSSL_cleanse(text.data(), text.size()); }

absl::StatusOr<SecretText> ReadSecretFile(const std::string& file) {
  // A FIFO must not hold the program up.
  const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd.valid()) return Failed(file, errno);
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return Failed(file, errno);
  if (!S_ISREG(status.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(file, ": not a regular file"));
  }
  if ((status.st_mode & 077) != 0 || (status.st_uid != geteuid() && status.st_uid != 0)) {
    return absl::FailedPreconditionError(absl::StrCat(
        file,
        ": a key file must have mode 0600 and belong to the user of this program or to "
        "root; this one has mode ",
        absl::Hex((status.st_mode >> 6) & 7), absl::Hex((status.st_mode >> 3) & 7),
        absl::Hex(status.st_mode & 7), " and belongs to uid ", status.st_uid));
  }
  SecretText content;
  content.text.resize(kMaxKeyFileBytes + 1);
  size_t size = 0;
  while (size < content.text.size()) {
    const ssize_t n = read(fd.get(), content.text.data() + size, content.text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed(file, errno);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  if (size > kMaxKeyFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": larger than ", kMaxKeyFileBytes, " bytes"));
  }
  content.text.resize(size);
  return content;
}

absl::StatusOr<std::vector<Key>> LoadKeys(const std::string& file) {
  const absl::StatusOr<SecretText> content = ReadSecretFile(file);
  if (!content.ok()) return content.status();
  return ParseKeys(content->text, file);
}

std::string KeyFileStamp(const std::string& file) {
  struct stat status;
  if (stat(file.c_str(), &status) != 0) return "";
  return absl::StrCat(status.st_dev, " ", status.st_ino, " ", status.st_size, " ",
                      status.st_mtim.tv_sec, ".", status.st_mtim.tv_nsec, " ",
                      status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec);
}

}  // namespace rdmafs::auth
