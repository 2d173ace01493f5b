#include "client/read_ahead_report.h"

#include <algorithm>

namespace rdmafs {

void AddReadAhead(const ReadAheadStatistics* statistics,
                  std::map<std::string, uint64_t>& counters) {
  counters["read_ahead.shards"] += statistics != nullptr;
  if (statistics == nullptr) return;
  auto add = [&](const char* name, uint64_t value) { counters[name] += value; };
  add("read_ahead.hits", statistics->hits.load(std::memory_order_relaxed));
  add("read_ahead.waits", statistics->waits.load(std::memory_order_relaxed));
  add("read_ahead.misses", statistics->misses.load(std::memory_order_relaxed));
  add("read_ahead.hit_bytes", statistics->hit_bytes.load(std::memory_order_relaxed));
  add("read_ahead.fetched_bytes", statistics->fetched_bytes.load(std::memory_order_relaxed));
  add("read_ahead.wasted_bytes", statistics->wasted_bytes.load(std::memory_order_relaxed));
  add("read_ahead.copied_bytes", statistics->copied_bytes.load(std::memory_order_relaxed));
  add("read_ahead.invalidations", statistics->invalidations.load(std::memory_order_relaxed));
  add("read_ahead.failures", statistics->failures.load(std::memory_order_relaxed));
  add("read_ahead.in_flight", statistics->in_flight.load(std::memory_order_relaxed));
  uint64_t& window = counters["read_ahead.window_bytes"];
  window = std::max(window, statistics->window_bytes.load(std::memory_order_relaxed));
}

}  // namespace rdmafs
