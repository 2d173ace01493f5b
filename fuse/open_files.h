// OpenFiles: from the file handles that the kernel has to the open files of the session.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "fuse/slot_table.h"
#include "transport/wire/types.h"

namespace rdmafs::fuse {

struct Node;

struct OpenFile {
  std::atomic<wire::OpenId> id{0};  // 0: not in use
  std::atomic<Node*> dropping{nullptr};
  // Of a directory whose end has been read: where that is; 0: not known.
  std::atomic<uint64_t> end{0};
};

// Thread-safe. Find() takes no lock.
class OpenFiles {
 public:
  explicit OpenFiles(uint64_t max_count = uint64_t{1} << 20) : slots_(max_count) {}

  // The number by which the kernel will name the file (never 0); nullopt when too many are open.
  // `dropping`: whose pages the kernel will drop before it names it; must outlive the open file.
  std::optional<uint64_t> Add(wire::OpenId id, Node* dropping = nullptr) {
    uint64_t index;
    OpenFile* const file = slots_.Take(index);
    if (file == nullptr) return std::nullopt;
    file->dropping.store(dropping, std::memory_order_relaxed);
    file->end.store(0, std::memory_order_relaxed);
    file->id.store(id, std::memory_order_release);
    return index + 1;
  }
  // 0 for a number that names no open file. `dropping`: what it was added with, when it is found
  // for the first time; else nullptr.
  wire::OpenId Find(uint64_t number, Node*& dropping) {
    dropping = nullptr;
    OpenFile* file = number == 0 ? nullptr : slots_.Find(number - 1);
    if (file == nullptr) return 0;
    if (file->dropping.load(std::memory_order_relaxed) != nullptr)
      dropping = file->dropping.exchange(nullptr, std::memory_order_relaxed);
    return file->id.load(std::memory_order_acquire);
  }
  // The open directory's last entry has been read: `cookie` is where a reader goes on.
  void SeeEnd(uint64_t number, uint64_t cookie) {
    if (OpenFile* file = number == 0 ? nullptr : slots_.Find(number - 1))
      file->end.store(cookie, std::memory_order_relaxed);
  }
  // Whether that was so when it was read last, and `cookie` is there. Once: who asks again looks
  // for what came since.
  bool TakeEnd(uint64_t number, uint64_t cookie) {
    OpenFile* file = number == 0 ? nullptr : slots_.Find(number - 1);
    if (file == nullptr) return false;
    return file->end.exchange(0, std::memory_order_relaxed) == cookie && cookie != 0;
  }
  // Forgets it, and says what it was (0: nothing).
  wire::OpenId Remove(uint64_t number) {
    OpenFile* file = number == 0 ? nullptr : slots_.Find(number - 1);
    const wire::OpenId id = file == nullptr ? 0 : file->id.exchange(0, std::memory_order_acq_rel);
    if (id != 0) slots_.GiveBack(number - 1);
    return id;
  }
  uint64_t count() const { return slots_.used_count(); }
  // Numbers are below this.
  uint64_t limit() const { return slots_.limit() + 1; }

 private:
  SlotTable<OpenFile> slots_;
};

}  // namespace rdmafs::fuse
