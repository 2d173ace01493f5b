// How the values of options are read: INVALID_ARGUMENT says which option is wrong, and what is
// expected.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "transport/base/clock.h"

namespace rdmafs::fuse {

using Value = absl::string_view;

absl::Status BadValue(absl::string_view name, Value value, absl::string_view wanted);
// Bytes, with K, M, G or T.
absl::Status ParseSize(absl::string_view name, Value value, uint64_t least, uint64_t most,
                       uint64_t& out);
absl::Status ParseSeconds(absl::string_view name, Value value, Nanoseconds& out);
absl::Status ParseFile(absl::string_view name, Value value, std::string& out);

template <typename T>
absl::Status ParseNumber(absl::string_view name, Value value, uint64_t least, uint64_t most,
                         T& out) {
  uint64_t number;
  if (!absl::SimpleAtoi(value, &number) || number < least || number > most) {
    return BadValue(name, value, absl::StrCat("a number from ", least, " to ", most));
  }
  out = static_cast<T>(number);
  return absl::OkStatus();
}

template <typename T>
absl::Status ParseChoice(absl::string_view name, Value value,
                         std::initializer_list<std::pair<absl::string_view, T>> choices, T& out) {
  std::string wanted;
  for (const auto& [text, choice] : choices) {
    if (value == text) {
      out = choice;
      return absl::OkStatus();
    }
    absl::StrAppend(&wanted, wanted.empty() ? "" : ", ", text);
  }
  return BadValue(name, value, absl::StrCat("one of ", wanted));
}

}  // namespace rdmafs::fuse
