// The one bounds-checked codec. A message's fields are described once (messages.h: Code()), and
// both Encoder and Decoder walk that description.
#pragma once

#include <cstring>
#include <string_view>
#include <type_traits>

#include "absl/types/span.h"
#include "transport/wire/types.h"

namespace rdmafs::wire {

// Writes fields into a caller's memory. Owned by one thread. A field that does not fit makes this
// and every later call false.
class Encoder {
 public:
  static constexpr bool kDecoding = false;
  explicit Encoder(absl::Span<std::byte> space) : space_(space) {}

  template <typename T>
  bool Fixed(const T& value) {
    static_assert(std::has_unique_object_representations_v<T> && std::is_trivially_copyable_v<T>);
    return Raw(&value, sizeof value);
  }
  template <typename T>
  bool FixedIfMore(const T& value) {
    return Fixed(value);
  }
  bool Name(std::string_view name) { return Bytes(name, kMaxNameBytes); }
  bool Bytes(std::string_view bytes, size_t limit) {
    if (bytes.size() > limit) return ok_ = false;
    return Fixed(static_cast<uint16_t>(bytes.size())) && Raw(bytes.data(), bytes.size());
  }
  bool Handle(const FileHandle& handle) { return Bytes(handle.view(), kMaxHandleBytes); }
  bool CallerField(const Caller& caller);

  bool ok() const { return ok_; }
  absl::Span<const std::byte> written() const { return space_.first(used_); }

 private:
  bool Raw(const void* data, size_t size) {
    if (!ok_ || size > space_.size() - used_) return ok_ = false;
    if (size != 0) std::memcpy(space_.data() + used_, data, size);
    used_ += size;
    return true;
  }

  absl::Span<std::byte> space_;
  size_t used_ = 0;
  bool ok_ = true;
};

// Reads fields out of a received body. Strings are views into it. Whatever does not fit, breaks a
// limit, or (Name) could not be one component of a path makes this and every later call false.
class Decoder {
 public:
  static constexpr bool kDecoding = true;
  explicit Decoder(absl::Span<const std::byte> body) : body_(body) {}

  template <typename T>
  bool Fixed(T& value) {
    static_assert(std::has_unique_object_representations_v<T> && std::is_trivially_copyable_v<T>);
    const std::byte* data = Take(sizeof value);
    if (data == nullptr) return false;
    std::memcpy(&value, data, sizeof value);
    return true;
  }
  // The last field of a message, which may be left out: then `value` is left alone.
  template <typename T>
  bool FixedIfMore(T& value) {
    return AtEnd() || Fixed(value);
  }
  // One path component: 1 to 255 bytes, not "." or "..", without '/' and NUL.
  bool Name(std::string_view& name);
  bool Bytes(std::string_view& bytes, size_t limit);
  bool Handle(FileHandle& handle);
  // caller.groups is kept in this decoder and lives as long as it does.
  bool CallerField(Caller& caller);

  bool ok() const { return ok_; }
  // All fields were there and nothing is behind them.
  bool AtEnd() const { return ok_ && used_ == body_.size(); }

 private:
  const std::byte* Take(size_t size) {
    if (!ok_ || size > body_.size() - used_) {
      ok_ = false;
      return nullptr;
    }
    const std::byte* data = body_.data() + used_;
    used_ += size;
    return data;
  }

  absl::Span<const std::byte> body_;
  size_t used_ = 0;
  bool ok_ = true;
  std::array<uint32_t, kMaxGroups> groups_;
};

// Whether `name` may be one component of a path (see Decoder::Name).
bool IsComponent(std::string_view name);

// Encodes `message` into `space`; an empty span when it does not fit its limits.
template <typename Message>
absl::Span<const std::byte> Encode(const Message& message, absl::Span<std::byte> space) {
  Encoder encoder(space);
  // Code() is one description for both ways, and an Encoder only reads.
  return const_cast<Message&>(message).Code(encoder) ? encoder.written()
                                                     : absl::Span<const std::byte>();
}

}  // namespace rdmafs::wire
