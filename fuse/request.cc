#include "fuse/request.h"

#include "transport/wire/codec.h"

namespace rdmafs::fuse {

std::optional<Request> ParseRequest(absl::Span<std::byte> bytes) {
  Request request;
  if (bytes.size() < sizeof request.header) return std::nullopt;
  std::memcpy(&request.header, bytes.data(), sizeof request.header);
  if (request.header.len != bytes.size()) return std::nullopt;
  request.arguments = bytes.subspan(sizeof request.header);
  request.ticket.unique = request.header.unique;
  request.ticket.opcode =
      static_cast<uint16_t>(request.header.opcode < kMaxOpcode ? request.header.opcode : 0);
  return request;
}

bool Arguments::TakeString(std::string_view& text) {
  if (!ok_ || bytes_.empty()) return ok_ = false;
  const void* nul = std::memchr(bytes_.data(), 0, bytes_.size());
  if (nul == nullptr) return ok_ = false;
  const size_t size = static_cast<size_t>(static_cast<const std::byte*>(nul) - bytes_.data());
  text = {reinterpret_cast<const char*>(bytes_.data()), size};
  bytes_.remove_prefix(size + 1);
  return true;
}

bool Arguments::TakeName(std::string_view& name) {
  if (!TakeString(name)) return false;
  // The kernel lets longer names through to us than we have room for.
  if (name.size() > wire::kMaxNameBytes) error_ = Errno(ENAMETOOLONG);
  return ok_ = wire::IsComponent(name);
}

}  // namespace rdmafs::fuse
