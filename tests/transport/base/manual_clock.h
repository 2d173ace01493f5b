// ManualClock: time that stands still until a test moves it.
#pragma once

#include "transport/base/clock.h"

namespace rdmafs {

// For tests on one thread.
class ManualClock final : public Clock {
 public:
  Nanoseconds Now() const override { return now; }
  Nanoseconds now = kSecond;
};

}  // namespace rdmafs
