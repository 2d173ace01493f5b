// memory_lookup: what a lookup of a registration's keys costs, against one atomic increment.
//
//   memory_lookup [SECONDS_EACH]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "tests/transport/memory/table_registrar.h"
#include "transport/memory/memory_region_cache.h"

namespace {

using namespace rdmafs;
using SteadyClock = std::chrono::steady_clock;

constexpr size_t kBatch = 1000, kForeign = 1000, kForeignBytes = 8192;

// Median nanoseconds of one call, over batches for so long.
double Median(double seconds, const std::function<void(size_t)>& call) {
  std::vector<double> samples;
  const auto end = SteadyClock::now() + std::chrono::duration<double>(seconds);
  while (SteadyClock::now() < end) {
    const auto begin = SteadyClock::now();
    for (size_t i = 0; i < kBatch; ++i) call(i);
    samples.push_back(std::chrono::duration<double, std::nano>(SteadyClock::now() - begin).count() /
                      kBatch);
  }
  std::nth_element(samples.begin(), samples.begin() + samples.size() / 2, samples.end());
  return samples[samples.size() / 2];
}

// Calls a second of `threads` threads together.
double Rate(double seconds, size_t threads,
            const std::function<void(size_t thread, size_t i)>& call) {
  std::vector<std::thread> running;
  std::vector<uint64_t> counts(threads * 16);
  const auto end = SteadyClock::now() + std::chrono::duration<double>(seconds);
  for (size_t t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      uint64_t count = 0;
      while (SteadyClock::now() < end) {
        for (size_t i = 0; i < kBatch; ++i) call(t, i);
        count += kBatch;
      }
      counts[t * 16] = count;
    });
  }
  for (std::thread& thread : running) thread.join();
  uint64_t sum = 0;
  for (uint64_t count : counts) sum += count;
  return static_cast<double>(sum) / seconds;
}

void Row(const char* what, double nanoseconds, double increment) {
  std::printf("| %s | %.1f | %.1f |\n", what, nanoseconds, nanoseconds / increment);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  const MonotonicClock clock;
  Arena arena;
  TableRegistrar registrar;
  MemoryRegionCache cache(registrar, arena, clock, {.foreign_count = 2 * kForeign});
  std::vector<Arena::Slab> slabs;
  for (int i = 0; i < 4; ++i) slabs.push_back(arena.Add(size_t{2} << 20));
  std::vector<std::byte> foreign(kForeign * kForeignBytes);
  auto piece = [&](size_t i) {
    return absl::MakeSpan(foreign).subspan(i % kForeign * kForeignBytes, kForeignBytes);
  };
  for (size_t i = 0; i < kForeign; ++i) {
    if (!cache.LookupForeign(piece(i), MemoryAccess::kRemoteWrite).ok()) return 1;
  }

  std::atomic<uint64_t> counter{0};
  uint64_t sum = 0;
  const double increment =
      Median(seconds, [&](size_t) { counter.fetch_add(1, std::memory_order_relaxed); });
  std::printf("| lookup | ns | x atomic increment |\n| --- | --- | --- |\n");
  Row("one atomic increment", increment, increment);
  Row("owned, the last slab again",
      Median(seconds, [&](size_t i) {
        sum += cache.Lookup(slabs[0].subspan(i * 64, 64), MemoryAccess::kRemoteWrite)->rkey;
      }), increment);
  Row("owned, one of 4 slabs in turn",
      Median(seconds, [&](size_t i) {
        sum += cache.Lookup(slabs[i % 4].subspan(i * 64, 64), MemoryAccess::kRemoteWrite)->rkey;
      }), increment);
  Row("foreign, one of 1,000 in turn",
      Median(seconds, [&](size_t i) {
        sum += cache.LookupForeign(piece(i * 7919), MemoryAccess::kRemoteWrite)->keys.rkey;
      }), increment);

  auto look_up = [&](size_t thread, size_t i) {
    (void)*cache.Lookup(slabs[thread % 4].subspan(i * 64, 64), MemoryAccess::kRemoteWrite);
  };
  const size_t threads = std::max(2u, std::min(4u, std::thread::hardware_concurrency()));
  const double one = Rate(seconds, 1, look_up), many = Rate(seconds, threads, look_up);
  std::printf("\n%zu threads: %.2f x one (owned slabs)\n", threads, many / one);
  return sum == 0;
}
