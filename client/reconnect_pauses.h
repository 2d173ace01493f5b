// ReconnectPauses: how long to wait between attempts to reach a server that is not there.
#pragma once

#include <algorithm>

#include "transport/base/clock.h"

namespace rdmafs {

// Pure. The pause doubles from 100 ms. While the outage is young, and so a restart likely, it stays
// short: an application must not wait much longer than the server is away. Later it grows to its
// maximum.
class ReconnectPauses {
 public:
  static constexpr Nanoseconds kFirst = 100 * kMillisecond;
  static constexpr Nanoseconds kLongestAtFirst = 400 * kMillisecond;
  static constexpr Nanoseconds kYoung = 120 * kSecond;

  explicit ReconnectPauses(Nanoseconds longest) : longest_(longest) {}

  // The next one, `away` after the server was lost.
  Nanoseconds Next(Nanoseconds away) {
    const Nanoseconds longest = away < kYoung ? std::min(kLongestAtFirst, longest_) : longest_;
    const Nanoseconds pause = std::min(next_, longest);
    next_ = std::min(2 * pause, longest_);
    return pause;
  }

 private:
  const Nanoseconds longest_;
  Nanoseconds next_ = kFirst;
};

}  // namespace rdmafs
