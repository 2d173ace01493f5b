#include "transport/memory/arena.h"

#include <sys/mman.h>

#include <algorithm>

namespace rdmafs {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

// mmap(2) aligned to a huge page: maps one more and cuts the ends off.
std::byte* MapAligned(size_t size_bytes) {
  void* huge = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (huge != MAP_FAILED) return static_cast<std::byte*>(huge);
  const size_t mapped = size_bytes + kHugePageBytes;
  void* raw = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto start = reinterpret_cast<uintptr_t>(raw);
  uintptr_t aligned = (start + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  if (aligned != start) munmap(raw, aligned - start);
  const size_t tail = start + mapped - (aligned + size_bytes);
  if (tail != 0) munmap(reinterpret_cast<void*>(aligned + size_bytes), tail);
  // Where transparent ones are for those who ask. Without any it is as good, only slower.
  madvise(reinterpret_cast<void*>(aligned), size_bytes, MADV_HUGEPAGE);
  return reinterpret_cast<std::byte*>(aligned);
}

}  // namespace

Arena::Slab Arena::Add(size_t size_bytes) {
  size_bytes = (size_bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
  std::byte* start = MapAligned(size_bytes);
  if (start == nullptr) return {};
  // fork(2) would make registered pages copy-on-write under the device's feet.
  madvise(start, size_bytes, MADV_DONTFORK);
  Slab slab(start, size_bytes);
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
  for (Slab slab : slabs_) observer(slab);
  observers_.emplace_back(next_observer_, std::move(observer));
  return next_observer_++;
}

void Arena::RemoveObserver(int id) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(observers_, [id](const auto& entry) { return entry.first == id; });
}

size_t Arena::size_bytes() const {
  absl::MutexLock lock(&mutex_);
  size_t total = 0;
  for (Slab slab : slabs_) total += slab.size();
  return total;
}

}  // namespace rdmafs
