#include "transport/memory/arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
// What blocks are aligned to; a larger page could be of two.
constexpr long kSmallPageBytes = 4096;

// nullptr when there is none.
void* Map(size_t size_bytes, int flags) {
  void* start =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

// Aligned to a huge page: maps one more and cuts the ends off.
void* MapAligned(size_t size_bytes) {
  const size_t mapped = size_bytes + kHugePageBytes;
  void* raw = Map(mapped, 0);
  if (raw == nullptr) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(raw);
  uintptr_t aligned = (start + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  if (aligned != start) munmap(raw, aligned - start);
  const size_t tail = start + mapped - (aligned + size_bytes);
  if (tail != 0) munmap(reinterpret_cast<void*>(aligned + size_bytes), tail);
  // Where transparent ones are for those who ask. Without any it is as good, only slower.
  madvise(reinterpret_cast<void*>(aligned), size_bytes, MADV_HUGEPAGE);
  return reinterpret_cast<void*>(aligned);
}

}  // namespace

Arena::Slab Arena::Add(size_t size_bytes) {
  size_bytes = (size_bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  void* start = Map(size_bytes, MAP_HUGETLB);
  const bool reserved = start != nullptr;
  if (!reserved) start = MapAligned(size_bytes);
  if (start == nullptr) return {};
  if (reserved || sysconf(_SC_PAGESIZE) != kSmallPageBytes) {
    lasting_.fetch_add(1, std::memory_order_release);
  }
  // fork(2) would make registered pages copy-on-write under the device's feet.
  madvise(start, size_bytes, MADV_DONTFORK);
  Slab slab(static_cast<std::byte*>(start), size_bytes);
  absl::MutexLock lock(&mutex_);
  slabs_.push_back(slab);
  for (auto& [id, observer] : observers_) observer(slab);
  return slab;
}

Arena::~Arena() {
  for (Slab slab : slabs_) munmap(slab.data(), slab.size());
}

int Arena::AddObserver(Observer observer) {
  absl::MutexLock lock(&mutex_);
  lasting_.fetch_add(1, std::memory_order_release);
  for (Slab slab : slabs_) observer(slab);
  observers_.emplace_back(next_observer_, std::move(observer));
  return next_observer_++;
}

void Arena::RemoveObserver(int id) {
  absl::MutexLock lock(&mutex_);
  const size_t removed =
      std::erase_if(observers_, [id](const auto& entry) { return entry.first == id; });
  lasting_.fetch_sub(static_cast<int>(removed), std::memory_order_release);
}

// By pieces and in place: needs no memory but what the slab had, when there may be none left.
void Arena::Renew(absl::Span<std::byte> pages) {
  {
    absl::MutexLock lock(&mutex_);
    CHECK(observers_.empty());
  }
  std::array<std::byte, 16 << 10> kept;
  for (; !pages.empty(); pages.remove_prefix(std::min(pages.size(), kept.size()))) {
    const absl::Span<std::byte> piece = pages.first(std::min(pages.size(), kept.size()));
    std::memcpy(kept.data(), piece.data(), piece.size());
    CHECK(madvise(piece.data(), piece.size(), MADV_DONTNEED) == 0);
    std::memcpy(piece.data(), kept.data(), piece.size());
  }
}

size_t Arena::size_bytes() const {
  absl::MutexLock lock(&mutex_);
  size_t total = 0;
  for (Slab slab : slabs_) total += slab.size();
  return total;
}

}  // namespace rdmafs
