// Request: one request of the kernel as a channel delivers it, and the checked reader of its
// arguments.
#pragma once

#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "absl/types/span.h"
#include "fuse/abi.h"
#include "transport/base/clock.h"
#include "transport/base/errno.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// What is needed to answer a request, small enough to be captured by a reply.
struct Ticket {
  uint64_t unique = 0;
  Nanoseconds start = 0;
  uint16_t opcode = 0;
  uint16_t entry = 0;  // the channel's own number of the place the request came by
};

// Takes arguments off the front of a request, by copy, and never beyond its end. Once something did
// not fit, everything fails.
class Arguments {
 public:
  explicit Arguments(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  [[nodiscard]] bool Take(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!ok_ || bytes_.size() < sizeof value) return ok_ = false;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return true;
  }
  // A NUL-terminated string, without its NUL; a view of the request.
  [[nodiscard]] bool TakeString(std::string_view& text);
  // A string that is one component of a path: not empty, no '/', not "." or ".."; at most 255
  // bytes.
  [[nodiscard]] bool TakeName(std::string_view& name);
  // What to answer when something could not be taken: EINVAL, or ENAMETOOLONG.
  Errno error() const { return error_; }
  absl::Span<const std::byte> rest() const { return ok_ ? bytes_ : absl::Span<const std::byte>(); }

 private:
  absl::Span<const std::byte> bytes_;
  bool ok_ = true;
  Errno error_{EINVAL};
};

// A request in its block: the header (a copy), and the arguments before and in the block's payload.
// Whoever needs the block beyond the call moves it out; otherwise the channel reads the next into
// it.
struct Request {
  fuse_in_header header{};
  absl::Span<std::byte> arguments;
  Buffer block;
  Ticket ticket;

  Arguments reader() const { return Arguments(arguments); }
};

// The request that stands in `bytes`, or nullopt when its length is not what its header says.
std::optional<Request> ParseRequest(absl::Span<std::byte> bytes);

}  // namespace rdmafs::fuse
