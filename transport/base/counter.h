// AddAsOnlyWriter: counters that one thread writes and any may read.
#pragma once

#include <atomic>
#include <type_traits>

namespace rdmafs {

// A plain addition that another thread can read whole: no locked instruction. `more` may be
// negative, or unsigned and wrap.
template <typename T>
void AddAsOnlyWriter(std::atomic<T>& counter, std::type_identity_t<T> more = 1) {
  counter.store(static_cast<T>(counter.load(std::memory_order_relaxed) + more),
                std::memory_order_relaxed);
}

}  // namespace rdmafs
