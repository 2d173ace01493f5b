// FixedQueue: a first-in-first-out queue with a bound and numbered entries, allocated once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "transport/base/check.h"

namespace rdmafs::rdma {

// Owned by one thread. Entries are numbered from 0 in the order they came, for ever.
template <typename T>
class FixedQueue {
 public:
  explicit FixedQueue(size_t capacity) : entries_(capacity) {}

  bool empty() const { return first_ == next_; }
  bool full() const { return size() == entries_.size(); }
  size_t size() const { return static_cast<size_t>(next_ - first_); }
  // Numbers of the oldest entry, and of the one that Push() will add.
  uint64_t first_number() const { return first_; }
  uint64_t next_number() const { return next_; }

  T& front() { return at(first_); }
  T& at(uint64_t number) {
    DCHECK(number >= first_ && number < next_);
    return entries_[number % entries_.size()];
  }
  // Not when full.
  T& Push(T entry) {
    CHECK(!full());
    return entries_[next_++ % entries_.size()] = std::move(entry);
  }
  // Not when empty.
  T Pop() {
    CHECK(!empty());
    return std::exchange(entries_[first_++ % entries_.size()], T());
  }

 private:
  std::vector<T> entries_;
  uint64_t first_ = 0, next_ = 0;
};

}  // namespace rdmafs::rdma
