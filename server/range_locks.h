// RangeLocks: the fcntl(2) locks of one owner on one file, as ranges that never overlap.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "server/lock_table.h"
#include "transport/wire/types.h"

namespace rdmafs {

// A pure value; bounds are its user's.
class RangeLocks {
 public:
  struct Held {
    uint64_t end;  // inclusive
    wire::LockType type;
    uint32_t pid;
    LockTable::Through through;
  };

  // Makes `range` what its type says: over parts of older ranges, which are cut, split or joined.
  // range.start <= range.end.
  void Apply(const wire::LockRange& range, const LockTable::Through& through);
  // Drops what was taken through that open file.
  void ReleaseThrough(const LockTable::Through& through);

  // Whether unlocking `range` would leave one range more than there are.
  bool WouldSplit(const wire::LockRange& range) const;
  // The first range that overlaps `range` and, with one of both for writing, is in its way.
  std::optional<wire::LockRange> FindConflict(const wire::LockRange& range) const;
  size_t count() const { return held_.size(); }

 private:
  using Map = std::map<uint64_t /*start*/, Held>;
  // The first that ends at or behind `at`.
  Map::const_iterator FirstFrom(uint64_t at) const;
  // Takes away what lies within [start, end].
  void Cut(uint64_t start, uint64_t end);
  // Joins the range at `at` with like neighbours that touch it.
  void Join(Map::iterator at);

  Map held_;
};

}  // namespace rdmafs
