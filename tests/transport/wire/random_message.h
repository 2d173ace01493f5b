// RandomFields: a codec that fills a message with random values, to have one of every kind.
#pragma once

#include <cstring>
#include <list>
#include <random>
#include <string>

#include "transport/wire/messages.h"

namespace rdmafs::wire {

// Walks a message's Code() as Encoder and Decoder do. Keeps the strings that the message refers to.
class RandomFields {
 public:
  static constexpr bool kDecoding = true;
  explicit RandomFields(uint32_t seed) : random_(seed) {}

  template <typename T>
  bool Fixed(T& value) {
    auto* bytes = reinterpret_cast<unsigned char*>(&value);
    for (size_t i = 0; i < sizeof value; ++i) bytes[i] = static_cast<unsigned char>(random_());
    return true;
  }
  bool Name(std::string_view& name) {
    name = Text(1 + random_() % kMaxNameBytes);
    return true;
  }
  bool Bytes(std::string_view& bytes, size_t limit) {
    bytes = Text(random_() % (limit + 1));
    return true;
  }
  bool Handle(FileHandle& handle) {
    const std::string_view bytes = Text(random_() % (kMaxHandleBytes + 1));
    handle.size_bytes = static_cast<uint16_t>(bytes.size());
    std::memcpy(handle.bytes.data(), bytes.data(), bytes.size());
    return true;
  }
  bool CallerField(Caller& caller) {
    Fixed(caller.uid);
    Fixed(caller.gid);
    Fixed(caller.pid);
    caller.umask = random_() % 01000;
    auto& groups = groups_.emplace_back(random_() % 20);
    for (uint32_t& group : groups) group = static_cast<uint32_t>(random_());
    caller.groups = groups;
    return true;
  }

 private:
  // Bytes that may stand in a name, UTF-8 or not.
  std::string_view Text(size_t size) {
    std::string& text = strings_.emplace_back(size, '\0');
    for (char& c : text) {
      do {
        c = static_cast<char>(random_());
      } while (c == '\0' || c == '/' || c == '.');
    }
    return text;
  }

  std::mt19937 random_;
  std::list<std::string> strings_;
  std::list<std::vector<uint32_t>> groups_;
};

}  // namespace rdmafs::wire
