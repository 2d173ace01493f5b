#include "client/library/watched_ranges.h"

#include <algorithm>

namespace rdmafs::library {

bool WatchedRanges::Contains(AddressRange range) const {
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), range.begin,
                                [](uintptr_t a, const AddressRange& r) { return a < r.begin; });
  return after != ranges_.begin() && range.end <= (after - 1)->end;
}

std::vector<AddressRange>::iterator WatchedRanges::EndsFrom(uintptr_t address) {
  return std::lower_bound(ranges_.begin(), ranges_.end(), address,
                          [](const AddressRange& r, uintptr_t a) { return r.end < a; });
}

bool WatchedRanges::Add(AddressRange range) {
  if (range.empty()) return true;
  auto first = EndsFrom(range.begin);
  auto last = first;
  for (; last != ranges_.end() && last->begin <= range.end; ++last) {
    range.begin = std::min(range.begin, last->begin);
    range.end = std::max(range.end, last->end);
  }
  if (first != last) {
    *first = range;
    ranges_.erase(first + 1, last);
    return true;
  }
  if (ranges_.size() == capacity_) return false;
  ranges_.insert(first, range);
  return true;
}

AddressRange WatchedRanges::Remove(AddressRange range) {
  AddressRange lost;
  if (range.empty()) return lost;
  auto it = EndsFrom(range.begin);
  while (it != ranges_.end() && it->begin < range.end) {
    if (!it->Touches(range)) {  // it ends where `range` begins
      ++it;
      continue;
    }
    const AddressRange before{it->begin, range.begin}, behind{range.end, it->end};
    if (before.empty() && behind.empty()) {
      it = ranges_.erase(it);
      continue;
    }
    *it = before.empty() ? behind : before;
    ++it;
    if (before.empty() || behind.empty()) continue;
    if (ranges_.size() == capacity_) {
      lost = behind;
    } else {
      ranges_.insert(it, behind);
    }
    break;
  }
  return lost;
}

size_t WatchedRanges::size_bytes() const {
  size_t sum = 0;
  for (const AddressRange& range : ranges_) sum += range.end - range.begin;
  return sum;
}

}  // namespace rdmafs::library
