#include "client/library/caller_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include <iterator>

// Linux 5.14; not in older headers.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace rdmafs::library {

namespace {

// Whether the kernel can be asked (Linux 5.14): of a page that is surely there.
bool KernelPopulates(uintptr_t page) {
  volatile char here = 0;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(&here) & ~(page - 1);
  return ::madvise(reinterpret_cast<void*>(begin), page, MADV_POPULATE_WRITE) == 0;
}

}  // namespace

Errno CheckMapped(absl::Span<std::byte> memory, Direction direction) {
  static const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  static const bool kernel_populates = KernelPopulates(page);
  if (memory.empty() || !kernel_populates) return kOk;
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory.data());
  if (address + memory.size() < address) return Errno(EFAULT);
  const uintptr_t begin = address & ~(page - 1);
  const int advice = direction == Direction::kReadTo ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  while (::madvise(reinterpret_cast<void*>(begin), address + memory.size() - begin, advice) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return Errno(EFAULT);  // EINVAL is a mapping without the permission, too
  }
  return kOk;
}

Errno CallerMemory::Pin(absl::Span<std::byte> memory, int directions,
                        std::vector<MemoryRegionCache::Pin>& pins) {
  const std::pair<Direction, MemoryAccess> ways[] = {
      {Direction::kReadTo, MemoryAccess::kRemoteWrite},
      {Direction::kWriteFrom, MemoryAccess::kRemoteRead}};
  for (const auto& [direction, access] : ways) {
    if ((directions & static_cast<int>(direction)) == 0) continue;
    if (Errno error = CheckMapped(memory, direction); !error.ok()) return error;
    for (Transport* transport : transports_) {
      if (transport == nullptr) continue;
      auto pinned = transport->PinMemory(memory, access);
      if (!pinned.ok()) return pinned.error();
      std::move(pinned->begin(), pinned->end(), std::back_inserter(pins));
    }
  }
  return kOk;
}

Errno CallerMemory::Register(absl::Span<std::byte> memory, int directions) {
  const int all = static_cast<int>(Direction::kReadTo) | static_cast<int>(Direction::kWriteFrom);
  if (memory.empty() || directions == 0 || (directions & ~all) != 0) return Errno(EINVAL);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory.data());
  const uintptr_t end = begin + memory.size();
  if (end < begin) return Errno(EFAULT);
  {
    absl::MutexLock lock(&mutex_);
    auto next = ranges_.lower_bound(begin);
    if (next != ranges_.end() && next->first < end) return Errno(EEXIST);
    if (next != ranges_.begin()) {
      auto before = std::prev(next);
      if (before->first + before->second.size_bytes > begin) return Errno(EEXIST);
    }
    ranges_[begin] = {.size_bytes = memory.size(), .directions = directions};
    range_bytes_ += memory.size();
  }
  // What was kept of a mapping that was here before may still be in the cache.
  if (watch_ != nullptr) Forget(memory);
  std::vector<MemoryRegionCache::Pin> pins;
  const Errno error = Pin(memory, directions, pins);
  if (!error.ok()) {
    pins.clear();
    Forget(memory);
  }
  absl::MutexLock lock(&mutex_);
  Range& range = ranges_[begin];
  if (!error.ok()) {
    range_bytes_ -= memory.size();
    ranges_.erase(begin);
    return error;
  }
  range.pins = std::move(pins);
  range.pinning = false;
  return kOk;
}

Errno CallerMemory::Unregister(absl::Span<std::byte> memory) {
  std::vector<MemoryRegionCache::Pin> pins;
  {
    absl::MutexLock lock(&mutex_);
    auto found = ranges_.find(reinterpret_cast<uintptr_t>(memory.data()));
    if (found == ranges_.end() || found->second.size_bytes != memory.size()) return Errno(ENOENT);
    if (found->second.use_count != 0 || found->second.pinning) return Errno(EBUSY);
    pins = std::move(found->second.pins);
    range_bytes_ -= memory.size();
    ranges_.erase(found);
  }
  pins.clear();
  Forget(memory);
  return kOk;
}

CallerMemory::Ranges::iterator CallerMemory::At(uintptr_t address) {
  auto next = ranges_.upper_bound(address);
  return next == ranges_.begin() ? ranges_.end() : std::prev(next);
}

CallerMemory::Use CallerMemory::Begin(absl::Span<std::byte> memory, Direction direction) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(memory.data());
  absl::MutexLock lock(&mutex_);
  auto found = At(address);
  if (found == ranges_.end()) return {};
  Range& range = found->second;
  if (address - found->first > range.size_bytes ||
      range.size_bytes - (address - found->first) < memory.size() || range.pinning ||
      (range.directions & static_cast<int>(direction)) == 0) {
    return {};
  }
  ++range.use_count;
  return {{reinterpret_cast<std::byte*>(found->first), range.size_bytes}};
}

void CallerMemory::End(const Use& use) {
  if (use.range.empty()) return;
  absl::MutexLock lock(&mutex_);
  --ranges_.at(reinterpret_cast<uintptr_t>(use.range.data())).use_count;
}

absl::Status CallerMemory::WatchMappings(const Clock& clock) {
  auto watch =
      MappingWatch::Create(clock, [this](absl::Span<std::byte> memory) { Forget(memory); });
  if (!watch.ok()) return watch.status();
  watch_ = *std::move(watch);
  return absl::OkStatus();
}

bool CallerMemory::Keeps(absl::Span<std::byte> memory) {
  if (watch_ == nullptr) return false;
  if (watch_->Stands(memory)) return true;
  Forget(memory);
  return false;
}

void CallerMemory::Forget(absl::Span<std::byte> memory) {
  for (Transport* transport : transports_) {
    if (transport == nullptr) continue;
    transport->ForgetMemory(memory);
    transport->TrimMemory();
  }
}

CallerMemory::Statistics CallerMemory::statistics() const {
  const MappingWatch::Statistics watch =
      watch_ != nullptr ? watch_->statistics() : MappingWatch::Statistics{};
  absl::MutexLock lock(&mutex_);
  return {ranges_.size(), range_bytes_, watch.range_bytes, watch.change_count};
}

}  // namespace rdmafs::library
