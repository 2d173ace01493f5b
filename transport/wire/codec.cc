#include "transport/wire/codec.h"

namespace rdmafs::wire {
namespace {

struct CallerFixed {
  uint32_t uid, gid, umask, pid, group_count;
};
static_assert(sizeof(CallerFixed) == 20);

}  // namespace

bool Encoder::CallerField(const Caller& caller) {
  if (caller.groups.size() > kMaxGroups) return ok_ = false;
  return Fixed(CallerFixed{caller.uid, caller.gid, caller.umask, caller.pid,
                           static_cast<uint32_t>(caller.groups.size())}) &&
         Raw(caller.groups.data(), caller.groups.size() * sizeof(uint32_t));
}

bool Decoder::CallerField(Caller& caller) {
  CallerFixed fixed;
  if (!Fixed(fixed)) return false;
  if (fixed.group_count > kMaxGroups || fixed.umask > 0777) return ok_ = false;
  const std::byte* data = Take(fixed.group_count * sizeof(uint32_t));
  if (data == nullptr) return false;
  std::memcpy(groups_.data(), data, fixed.group_count * sizeof(uint32_t));
  caller = {fixed.uid, fixed.gid, fixed.umask, fixed.pid,
            absl::MakeConstSpan(groups_.data(), fixed.group_count)};
  return true;
}

bool Decoder::Bytes(std::string_view& bytes, size_t limit) {
  uint16_t size;
  if (!Fixed(size)) return false;
  if (size > limit) return ok_ = false;
  const std::byte* data = Take(size);
  if (data == nullptr) return false;
  bytes = {reinterpret_cast<const char*>(data), size};
  return true;
}

bool Decoder::Name(std::string_view& name) {
  return Bytes(name, kMaxNameBytes) && (ok_ = IsComponent(name));
}

bool Decoder::Handle(FileHandle& handle) {
  std::string_view bytes;
  if (!Bytes(bytes, kMaxHandleBytes)) return false;
  handle.size_bytes = static_cast<uint16_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(handle.bytes.data(), bytes.data(), bytes.size());
  return true;
}

bool IsComponent(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

}  // namespace rdmafs::wire
