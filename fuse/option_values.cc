#include "fuse/option_values.h"

#include <cmath>

namespace rdmafs::fuse {

absl::Status BadValue(absl::string_view name, Value value, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("option ", name, "=", value, ": ", wanted, " is expected"));
}

absl::Status ParseSize(absl::string_view name, Value value, uint64_t least, uint64_t most,
                       uint64_t& out) {
  constexpr absl::string_view kSuffixes = "KMGT";
  const std::string wanted = absl::StrCat("a size like 64M, from ", least, " to ", most, " bytes,");
  if (value.empty()) return BadValue(name, value, wanted);
  int shift = 0;
  absl::string_view digits = value;
  const size_t suffix = kSuffixes.find(static_cast<char>(value.back() & ~0x20));
  if (suffix != absl::string_view::npos) {
    shift = 10 * (static_cast<int>(suffix) + 1);
    digits.remove_suffix(1);
  }
  uint64_t number;
  if (!absl::SimpleAtoi(digits, &number) || number > (most >> shift) || (number << shift) < least) {
    return BadValue(name, value, wanted);
  }
  out = number << shift;
  return absl::OkStatus();
}

absl::Status ParseSeconds(absl::string_view name, Value value, Nanoseconds& out) {
  constexpr double kMost = 365.0 * 24 * 3600;
  double seconds;
  if (!absl::SimpleAtod(value, &seconds) || !(seconds >= 0) || seconds > kMost) {
    return BadValue(name, value, "a number of seconds");
  }
  out = std::llround(seconds * kSecond);
  return absl::OkStatus();
}

absl::Status ParseFile(absl::string_view name, Value value, std::string& out) {
  out = std::string(value);
  return value.empty() ? BadValue(name, value, "the name of a file") : absl::OkStatus();
}

}  // namespace rdmafs::fuse
