// SendQueue: messages on their way into a byte stream, gathered into as few writes as
// possible.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "transport/connection.h"
#include "transport/tcp/byte_stream.h"
#include "transport/wire/header.h"

namespace rdmafs {

// Owned by one shard thread. Headers and bodies are copied; inline payload and payload are not, so
// they must stand until the stream has taken them, which is when `hold` is dropped. Bounded by its
// owner's credits. Allocates only while it grows.
class SendQueue {
 public:
  enum class Progress { kEmpty, kBlocked, kError };
  static constexpr int kNoSlot = -1;
  // Less is copied faster than its pages are lent.
  static constexpr size_t kMinLentBytes = 256 << 10;

  struct Message {
    const wire::MessageHeader& header;
    absl::Span<const std::byte> body, inline_payload;
    absl::Span<const std::byte> payload;  // behind the message
    Buffer hold;
    int slot = kNoSlot;  // given to `on_sent`, when it is one
    FileRange file;      // behind the message, instead of payload; for streams that send files
    // Of payload's beginning, what may go without a copy; for streams that send pages.
    size_t lent_bytes = 0;
    // Of file's end, what goes as a copy.
    size_t copied_bytes = 0;
  };
  void Push(Message message);

  // Writes until all is written or the stream takes no more. `on_sent` is called for every message
  // with a slot whose last byte the stream took.
  Progress Flush(ByteStream& stream, absl::FunctionRef<void(int slot)> on_sent);
  // Drops everything, holds included.
  void Clear();

  size_t message_count() const { return entries_.size() - first_; }
  size_t size_bytes() const { return size_bytes_; }
  uint64_t bytes_sent() const { return bytes_sent_; }
  int error() const { return error_; }

 private:
  struct Entry {
    size_t head_bytes;  // of heads_ not sent yet
    absl::Span<const std::byte> inline_payload, payload;
    Buffer hold;
    int slot;
    FileRange file;
    size_t lent_bytes;    // of payload not sent yet
    size_t copied_bytes;  // of file
  };

  ssize_t Write(ByteStream& stream, const iovec* parts, int count, const Entry* last) const;
  int Gather(iovec* parts, const Entry*& last) const;
  void Advance(size_t size, absl::FunctionRef<void(int slot)> on_sent);
  void Compact();

  std::vector<Entry> entries_;  // from first_ on
  size_t first_ = 0;
  std::vector<std::byte> heads_;  // headers and bodies of the entries, one behind the other
  size_t heads_first_ = 0;
  size_t size_bytes_ = 0;
  uint64_t bytes_sent_ = 0;
  int error_ = 0;
};

}  // namespace rdmafs
