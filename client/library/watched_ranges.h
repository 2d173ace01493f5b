// WatchedRanges: which stretches of the address space are watched, in memory that is there
// beforehand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rdmafs::library {

// Addresses from `begin` to before `end`.
struct AddressRange {
  uintptr_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  bool Touches(const AddressRange& other) const { return begin < other.end && other.begin < end; }
};

// A set of addresses as ranges in order, none of which meets another. After construction nothing is
// allocated or freed. Not thread-safe.
class WatchedRanges {
 public:
  explicit WatchedRanges(size_t capacity) : capacity_(capacity) { ranges_.reserve(capacity); }

  bool Contains(AddressRange range) const;
  // False, and nothing changes, when there is no room for one more range.
  bool Add(AddressRange range);
  // What loses its middle is two ranges afterwards. Where there is no room for the second of them
  // it is given up, too, and returned.
  AddressRange Remove(AddressRange range);

  const std::vector<AddressRange>& ranges() const { return ranges_; }
  size_t size_bytes() const;

 private:
  // The first range that ends at `address` or behind it.
  std::vector<AddressRange>::iterator EndsFrom(uintptr_t address);

  const size_t capacity_;
  std::vector<AddressRange> ranges_;
};

}  // namespace rdmafs::library
