// KeptMemoryRig: CallerMemory over a cache whose registrations remember which pages they are of.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <map>
#include <vector>

#include "client/library/caller_memory.h"
#include "tests/client/library/memory_transport.h"

namespace rdmafs::library {

inline constexpr size_t kPage = 4096;

// Goes forward when it is told to. Thread-safe.
class SteppedClock final : public Clock {
 public:
  Nanoseconds Now() const override { return now_; }
  void Advance(Nanoseconds by) { now_ += by; }

 private:
  std::atomic<Nanoseconds> now_{kSecond};
};

// Every page carries a mark of its own; a registration remembers the marks of its pages, as a
// device does the pages themselves. Thread-safe.
class MarkRegistrar final : public MemoryRegistrar {
 public:
  // Gives pages of one mapping marks that were never there before.
  void Mark(absl::Span<std::byte> pages) {
    for (size_t at = 0; at + kPage <= pages.size(); at += kPage) {
      const uint64_t mark = next_mark_++;
      std::memcpy(pages.data() + at, &mark, sizeof mark);
    }
  }
  static std::vector<uint64_t> MarksOf(absl::Span<const std::byte> pages) {
    std::vector<uint64_t> marks(pages.size() / kPage);
    for (size_t i = 0; i < marks.size(); ++i)
      std::memcpy(&marks[i], pages.data() + i * kPage, sizeof marks[i]);
    return marks;
  }
  Result<Registration> Register(absl::Span<std::byte> memory, MemoryAccess) override {
    std::vector<uint64_t> marks = MarksOf(memory);
    absl::MutexLock lock(&mutex_);
    entries_[++last_key_] = std::move(marks);
    return Registration{{last_key_, last_key_}};
  }
  void Deregister(const Registration& registration) override {
    std::vector<uint64_t> freed;  // not while the lock is held
    absl::MutexLock lock(&mutex_);
    freed.swap(entries_.at(registration.keys.lkey));
    entries_.erase(registration.keys.lkey);
  }
  // Whether a device with this key would reach the pages that are there now.
  bool Reaches(uint32_t key, absl::Span<const std::byte> pages) const {
    absl::MutexLock lock(&mutex_);
    const std::vector<uint64_t>& marks = entries_.at(key);
    if (marks.size() != pages.size() / kPage) return false;
    for (size_t i = 0; i < marks.size(); ++i) {
      if (std::memcmp(pages.data() + i * kPage, &marks[i], sizeof marks[i]) != 0) return false;
    }
    return true;
  }
  size_t count() const {
    absl::MutexLock lock(&mutex_);
    return entries_.size();
  }

 private:
  std::atomic<uint64_t> next_mark_{1};
  mutable absl::Mutex mutex_;
  std::map<uint32_t, std::vector<uint64_t>> entries_ ABSL_GUARDED_BY(mutex_);
  uint32_t last_key_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A transport of one protection domain.
class CacheTransport final : public MemoryTransport {
 public:
  explicit CacheTransport(MemoryRegionCache& cache) : cache_(cache) {}
  MemoryRegionCache::Statistics memory_statistics() const override { return cache_.statistics(); }
  Result<std::vector<MemoryRegionCache::Pin>> PinMemory(absl::Span<std::byte> memory,
                                                        MemoryAccess access) override {
    auto pin = cache_.LookupForeign(memory, access);
    if (!pin.ok()) return pin.error();
    std::vector<MemoryRegionCache::Pin> pins;
    pins.push_back(*std::move(pin));
    return pins;
  }
  void ForgetMemory(absl::Span<const std::byte> memory) override { cache_.Invalidate(memory); }
  void TrimMemory() override { cache_.Trim(); }

 private:
  MemoryRegionCache& cache_;
};

class KeptMemoryRig {
 public:
  explicit KeptMemoryRig(const MemoryRegionCache::Options& options = {})
      : cache(registrar, arena_, clock, options) {
    const absl::Status status = memory.WatchMappings(clock);
    EXPECT_TRUE(status.ok()) << status;
  }

  // As a read to `pages` does: false when it would not have reached them.
  bool Use(absl::Span<std::byte> pages) {
    const bool keeps = memory.Keeps(pages);
    bool reaches = false;
    {
      auto pin = cache.LookupForeign(pages, MemoryAccess::kRemoteWrite);
      reaches = pin.ok() && registrar.Reaches(pin->keys.lkey, pages);
    }
    if (!keeps) memory.Forget(pages);
    (keeps ? kept_count : once_count).fetch_add(1, std::memory_order_relaxed);
    return reaches;
  }
  // A mapping with marks, at `where` when it is given.
  absl::Span<std::byte> Map(size_t size, void* where = nullptr,
                            int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
    void* memory_there = ::mmap(where, size, PROT_READ | PROT_WRITE,
                                flags | (where != nullptr ? MAP_FIXED : 0), fd, 0);
    EXPECT_NE(memory_there, MAP_FAILED) << std::strerror(errno);
    const absl::Span<std::byte> pages(static_cast<std::byte*>(memory_there), size);
    registrar.Mark(pages);
    return pages;
  }

  SteppedClock clock;
  MarkRegistrar registrar;

 private:
  Arena arena_;

 public:
  MemoryRegionCache cache;
  CacheTransport transport{cache};
  CallerMemory memory{nullptr, &transport};
  std::atomic<uint64_t> kept_count{0}, once_count{0};
};

}  // namespace rdmafs::library
