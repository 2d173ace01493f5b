// FreeList and ReplyChain: how a layer looks at answers on their way back without an allocation
// each.
#pragma once

#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "transport/base/check.h"
#include "transport/base/reply.h"

namespace rdmafs {

// Room for objects that come and go with operations: allocates only while more of them exist at
// once than ever before. Not thread-safe; outlives what it gave out.
template <typename T>
class FreeList {
 public:
  FreeList() = default;
  FreeList(const FreeList&) = delete;
  FreeList& operator=(const FreeList&) = delete;
  ~FreeList() { DCHECK(used_count_ == 0); }

  template <typename... Args>
  T* Take(Args&&... args) {
    if (free_.empty()) Grow();
    Node* node = free_.back();
    free_.pop_back();
    ++used_count_;
    return ::new (node->room) T(std::forward<Args>(args)...);
  }
  void Return(T* object) {
    object->~T();
    --used_count_;
    free_.push_back(reinterpret_cast<Node*>(object));
  }

  size_t used_count() const { return used_count_; }
  // What it has room for without another allocation.
  size_t capacity() const { return blocks_.size() * kBlockCount; }

 private:
  static constexpr size_t kBlockCount = 32;
  struct Node {
    alignas(T) unsigned char room[sizeof(T)];
  };

  void Grow() {
    blocks_.push_back(std::make_unique<Node[]>(kBlockCount));
    free_.reserve(capacity());
    for (size_t i = kBlockCount; i-- > 0;) free_.push_back(&blocks_.back()[i]);
  }

  std::vector<std::unique_ptr<Node[]>> blocks_;
  std::vector<Node*> free_;
  size_t used_count_ = 0;
};

// Makes of the reply that a layer was given the one that it hands to the next layer, with a look at
// the result in between. What is kept for the operation (the asker's Reply is 64 bytes, so it does
// not fit into another one) comes from a FreeList. Owned by one shard thread; outlives the replies
// it made.
template <typename T>
class ReplyChain {
 public:
  // Sees the result, and may change it, before the asker has it.
  using Look = UniqueFunction<void(Result<T>&), 48>;

  template <typename F>
  Reply<T> Wrap(Reply<T> reply, F&& look) {
    static_assert(Look::template kFits<std::decay_t<F>>, "the captures would be allocated");
    Operation* operation =
        operations_.Take(Operation{std::move(reply), Look(std::forward<F>(look))});
    auto answer = [this, operation](Result<T> result) { Answer(operation, std::move(result)); };
    static_assert(Reply<T>::Function::template kFits<decltype(answer)>);
    return answer;
  }

  // Operations that are under way now.
  size_t used_count() const { return operations_.used_count(); }
  size_t capacity() const { return operations_.capacity(); }

 private:
  struct Operation {
    Reply<T> reply;
    Look look;
  };

  // The operation's room is free again before the asker hears of it: it may ask for the next at
  // once.
  void Answer(Operation* operation, Result<T> result) {
    Reply<T> reply = std::move(operation->reply);
    Look look = std::move(operation->look);
    operations_.Return(operation);
    look(result);
    reply.Complete(std::move(result));
  }

  FreeList<Operation> operations_;
};

}  // namespace rdmafs
