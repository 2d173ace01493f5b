// Errno and Result<T>: how the data path says what went wrong (errno(3) values, never messages).
#pragma once

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

#include "transport/base/check.h"

namespace rdmafs {

// An errno(3) value; 0 is success. Trivially copyable, thread-safe as any int is.
class [[nodiscard]] Errno {
 public:
  constexpr Errno() = default;
  constexpr explicit Errno(int value) : value_(value) {}

  constexpr bool ok() const { return value_ == 0; }
  constexpr int value() const { return value_; }
  // "ENOENT: No such file or directory"; for logs and tests.
  std::string ToString() const;

  friend constexpr bool operator==(Errno, Errno) = default;

 private:
  int value_ = 0;
};

inline constexpr Errno kOk{};

// Stands for the value of a Result that has none to give.
struct Unit {
  friend constexpr bool operator==(Unit, Unit) = default;
};

// A T, or the Errno that explains why there is none. An Errno of 0 is not a valid error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<1>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Errno error) : state_(std::in_place_index<0>, error) { DCHECK(!error.ok()); }  // NOLINT

  bool ok() const { return state_.index() == 1; }
  Errno error() const { return ok() ? kOk : std::get<0>(state_); }
  T& value() & { return std::get<1>(state_); }
  const T& value() const& { return std::get<1>(state_); }
  T&& value() && { return std::get<1>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Errno, T> state_;
};

// kOk as a Result<Unit>, an error as that error.
inline Result<Unit> ToResult(Errno error) {
  if (error.ok()) return Unit{};
  return error;
}

}  // namespace rdmafs
