#include "client/library/mappings.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string_view>

namespace rdmafs::library {
namespace {

// "7f00-7f10 rw-p 00000000 00:00 0    NAME": `line` ends in a newline.
bool Parse(const char* line, AddressRange& range, bool& is_private_anonymous) {
  char sharing = 0;
  uint64_t inode = 1;
  int name_at = -1;
  if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*3s%c %*x %*x:%*x %" SCNu64 " %n", &range.begin,
                  &range.end, &sharing, &inode, &name_at) != 4 ||
      name_at < 0) {
    return false;
  }
  const std::string_view name(line + name_at);
  is_private_anonymous = sharing == 'p' && inode == 0 &&
                         (name.empty() || name.starts_with("[heap]") ||
                          name.starts_with("[stack]") || name.starts_with("[anon:"));
  return true;
}

}  // namespace

bool IsPrivateAnonymous(AddressRange range) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"),
                                                             &std::fclose);
  if (maps == nullptr) return false;
  char line[4096 + 256];
  uintptr_t checked_to = range.begin;
  while (checked_to < range.end && std::fgets(line, sizeof line, maps.get()) != nullptr) {
    AddressRange mapping;
    bool is_private_anonymous = false;
    if (!Parse(line, mapping, is_private_anonymous)) return false;
    if (mapping.end <= checked_to) continue;
    if (mapping.begin > checked_to || !is_private_anonymous) return false;
    checked_to = mapping.end;
  }
  return checked_to >= range.end;
}

}  // namespace rdmafs::library
