// WorkItem: what a worker runs; queued without an allocation.
#pragma once

namespace rdmafs::server {

// In one queue at a time; owned by whoever queued it, who must keep it until `run` was called.
struct WorkItem {
  WorkItem* next_item = nullptr;
  void (*run)(WorkItem&) = nullptr;
};

// First in, first out, through the items' `next_item`. Not thread-safe.
template <typename Item>
class ItemQueue {
 public:
  bool empty() const { return head_ == nullptr; }
  void Push(Item& item) {
    item.next_item = nullptr;
    if (tail_ == nullptr) {
      head_ = &item;
    } else {
      tail_->next_item = &item;
    }
    tail_ = &item;
  }
  Item* Pop() {
    Item* item = head_;
    if (item == nullptr) return nullptr;
    head_ = static_cast<Item*>(item->next_item);
    if (head_ == nullptr) tail_ = nullptr;
    item->next_item = nullptr;
    return item;
  }

 private:
  Item* head_ = nullptr;
  Item* tail_ = nullptr;
};

}  // namespace rdmafs::server
