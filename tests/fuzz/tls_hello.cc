#include "tests/fuzz/tls_hello.h"

#include <cstddef>

namespace rdmafs {
namespace {

constexpr size_t kRecordHeader = 5, kMessageHeader = 4, kVersionAndRandom = 34;
constexpr uint8_t kHandshake = 22, kClientHello = 1, kServerHello = 2;

size_t Number(const std::string& bytes, size_t at, size_t size) {
  size_t number = 0;
  for (size_t i = 0; i < size; ++i)
    number = number << 8 | static_cast<uint8_t>(at + i < bytes.size() ? bytes[at + i] : 0);
  return number;
}

std::string Bytes(size_t number, size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = size; i-- > 0; number >>= 8) bytes[i] = static_cast<char>(number);
  return bytes;
}

// Where the size of the extensions stands.
size_t FindExtensions(const std::string& record) {
  size_t at = kRecordHeader + kMessageHeader + kVersionAndRandom;
  at += 1 + Number(record, at, 1);  // session id
  if (Number(record, kRecordHeader, 1) == kServerHello) return at + 2 + 1;
  at += 2 + Number(record, at, 2);         // cipher suites
  return at + 1 + Number(record, at, 1);  // compression methods
}

}  // namespace

std::string WithExtension(const std::string& record, uint16_t type, const std::string& content) {
  const size_t message = Number(record, kRecordHeader, 1);
  if (Number(record, 0, 1) != kHandshake || (message != kClientHello && message != kServerHello))
    return record;
  const size_t begin = FindExtensions(record);
  if (begin + 2 > record.size()) return record;
  const std::string made = Bytes(type, 2) + Bytes(content.size(), 2) + content;
  std::string extensions;
  bool found = false;
  for (size_t at = begin + 2; at + 4 <= record.size();) {
    const size_t size = 4 + Number(record, at + 2, 2);
    const bool replaced = Number(record, at, 2) == type;
    extensions += replaced ? made : record.substr(at, size);
    found |= replaced;
    at += size;
  }
  if (!found) extensions = made + extensions;
  const std::string body =
      record.substr(kRecordHeader + kMessageHeader, begin - kRecordHeader - kMessageHeader) +
      Bytes(extensions.size(), 2) + extensions;
  return record.substr(0, 3) + Bytes(body.size() + kMessageHeader, 2) + Bytes(message, 1) +
         Bytes(body.size(), 3) + body;
}

}  // namespace rdmafs
