#include "transport/tcp/send_queue.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rdmafs {
namespace {

// Enough for 64 replies with payload; a longer gather gains nothing over a second call.
constexpr int kMaxParts = 128;
// Room that an idle connection keeps.
constexpr size_t kKeptHeadBytes = 16 << 10;
constexpr size_t kCompactEntries = 256;

size_t Consume(absl::Span<const std::byte>& bytes, size_t size) {
  const size_t taken = std::min(bytes.size(), size);
  bytes.remove_prefix(taken);
  return size - taken;
}

size_t Consume(FileRange& file, size_t size) {
  const size_t taken = std::min(file.size, size);
  file.offset += taken;
  file.size -= taken;
  return size - taken;
}

}  // namespace

void SendQueue::Push(Message message) {
  const size_t head_bytes = sizeof message.header + message.body.size();
  const size_t at = heads_.size();
  heads_.resize(at + head_bytes);
  std::memcpy(heads_.data() + at, &message.header, sizeof message.header);
  if (!message.body.empty()) {
    std::memcpy(heads_.data() + at + sizeof message.header, message.body.data(),
                message.body.size());
  }
  size_bytes_ +=
      head_bytes + message.inline_payload.size() + message.payload.size() + message.file.size;
  entries_.push_back({head_bytes, message.inline_payload, message.payload, std::move(message.hold),
                      message.slot, std::move(message.file), message.lent_bytes,
                      message.copied_bytes});
}

SendQueue::Progress SendQueue::Flush(ByteStream& stream,
                                     absl::FunctionRef<void(int slot)> on_sent) {
  while (size_bytes_ != 0 || stream.holds_output()) {
    iovec parts[kMaxParts];
    const Entry* last = nullptr;
    const int count = Gather(parts, last);
    const ssize_t sent = Write(stream, parts, count, last);
    if (sent >= 0) {
      Advance(static_cast<size_t>(sent), on_sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return Progress::kBlocked;
    } else if (errno != EINTR) {
      error_ = errno;
      return Progress::kError;
    }
  }
  return Progress::kEmpty;
}

ssize_t SendQueue::Write(ByteStream& stream, const iovec* parts, int count,
                         const Entry* last) const {
  if (last == nullptr) return stream.Write(parts, count);
  if (last->lent_bytes != 0)
    return stream.WritePages(parts, count, last->payload.first(last->lent_bytes));
  const FileRange& file = last->file;
  const bool copied = file.size <= last->copied_bytes;
  return stream.WriteFile(parts, count, file.fd, file.offset,
                          copied ? file.size : file.size - last->copied_bytes, copied);
}

// Up to what is not sent from a gather, if there is any: a file, or lent pages, of `last`.
int SendQueue::Gather(iovec* parts, const Entry*& last) const {
  int count = 0;
  const std::byte* head = heads_.data() + heads_first_;
  auto add = [&](const std::byte* data, size_t size) {
    if (size == 0) return;
    if (count != 0) {
      iovec& before = parts[count - 1];
      if (static_cast<const std::byte*>(before.iov_base) + before.iov_len == data) {
        before.iov_len += size;  // heads of messages without payload stand side by side
        return;
      }
    }
    parts[count++] = {const_cast<std::byte*>(data), size};
  };
  for (size_t i = first_; i < entries_.size() && count + 3 <= kMaxParts; ++i) {
    const Entry& entry = entries_[i];
    add(head, entry.head_bytes);
    head += entry.head_bytes;
    add(entry.inline_payload.data(), entry.inline_payload.size());
    const bool lent = entry.lent_bytes >= kMinLentBytes;
    if (!lent) add(entry.payload.data(), entry.payload.size());
    if (lent || entry.file.size != 0) {
      last = &entry;
      break;
    }
  }
  return count;
}

void SendQueue::Advance(size_t size, absl::FunctionRef<void(int slot)> on_sent) {
  bytes_sent_ += size;
  size_bytes_ -= size;
  while (first_ < entries_.size()) {
    Entry& entry = entries_[first_];
    const size_t head = std::min(entry.head_bytes, size);
    entry.head_bytes -= head;
    heads_first_ += head;
    size = Consume(entry.inline_payload, size - head);
    entry.lent_bytes -= std::min(entry.lent_bytes, size);
    size = Consume(entry.payload, size);
    size = Consume(entry.file, size);
    if (entry.head_bytes + entry.inline_payload.size() + entry.payload.size() + entry.file.size !=
        0)
      break;
    entry.hold = Buffer();
    entry.file.owner.reset();
    ++first_;
    if (entry.slot != kNoSlot) on_sent(entry.slot);
  }
  Compact();
}

void SendQueue::Compact() {
  if (first_ == entries_.size()) {
    entries_.clear();
    first_ = 0;
    heads_.clear();
    heads_first_ = 0;
    if (heads_.capacity() > kKeptHeadBytes) std::vector<std::byte>().swap(heads_);
  } else if (first_ >= kCompactEntries) {
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<ptrdiff_t>(first_));
    first_ = 0;
    heads_.erase(heads_.begin(), heads_.begin() + static_cast<ptrdiff_t>(heads_first_));
    heads_first_ = 0;
  }
}

void SendQueue::Clear() {
  entries_.clear();
  first_ = 0;
  heads_.clear();
  heads_first_ = 0;
  size_bytes_ = 0;
}

}  // namespace rdmafs
