// Clock: where time comes from, so that tests and the simulation can bring their own.
#pragma once

#include <chrono>
#include <cstdint>

namespace rdmafs {

// Nanoseconds of CLOCK_MONOTONIC, or of a test's virtual time. Never wall-clock time.
using Nanoseconds = int64_t;

inline constexpr Nanoseconds kMicrosecond = 1000;
inline constexpr Nanoseconds kMillisecond = 1000 * kMicrosecond;
inline constexpr Nanoseconds kSecond = 1000 * kMillisecond;

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanoseconds Now() const = 0;
};

// CLOCK_MONOTONIC.
class MonotonicClock final : public Clock {
 public:
  Nanoseconds Now() const override {
    return std::chrono::steady_clock::now().time_since_epoch().count();
  }
};

}  // namespace rdmafs
