// PosixStore: extended attributes, POSIX ACLs among them.
#include <linux/limits.h>
#include <sys/xattr.h>

#include "server/posix_calls.h"
#include "server/posix_objects.h"
#include "server/posix_store.h"

namespace rdmafs {
namespace {

// The name with its NUL: ERANGE as the kernel says for one that is empty or too long.
class AttributeName {
 public:
  explicit AttributeName(std::string_view name) {
    if (name.empty() || name.size() > XATTR_NAME_MAX || name.find('\0') != name.npos) {
      error_ = Errno(ERANGE);
      return;
    }
    name.copy(text_, name.size());
    text_[name.size()] = '\0';
  }
  Errno error() const { return error_; }
  const char* c_str() const { return text_; }

 private:
  Errno error_;
  char text_[XATTR_NAME_MAX + 1];
};

Result<uint64_t> Size(ssize_t result) {
  if (result < 0) return LastErrno();
  return static_cast<uint64_t>(result);
}

}  // namespace

// The kernel has no such calls for O_PATH descriptors (before 6.13), hence /proc/self/fd; it leads
// to a symlink itself, as lgetxattr(2) would.
Result<uint64_t> PosixStore::GetXattr(const Identity& identity, const wire::FileHandle& handle,
                                      std::string_view name, absl::Span<std::byte> into) {
  const AttributeName attribute(name);
  if (!attribute.error().ok()) return attribute.error();
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  return Size(
      getxattr(ProcName((*object)->fd.get()).path(), attribute.c_str(), into.data(), into.size()));
}

Result<uint64_t> PosixStore::ListXattr(const Identity& identity, const wire::FileHandle& handle,
                                       absl::Span<std::byte> into) {
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  return Size(listxattr(ProcName((*object)->fd.get()).path(), reinterpret_cast<char*>(into.data()),
                        into.size()));
}

Errno PosixStore::SetXattr(const Identity& identity, const wire::FileHandle& handle,
                           std::string_view name, std::string_view value, uint32_t flags,
                           bool acl_kill_sgid) {
  const AttributeName attribute(name);
  if (!attribute.error().ok()) return attribute.error();
  auto object = Enter(identity, handle, acl_kill_sgid ? SetIdBits::kClear : SetIdBits::kAsCaller);
  if (!object.ok()) return object.error();
  return ToErrno(setxattr(ProcName((*object)->fd.get()).path(), attribute.c_str(), value.data(),
                          value.size(), static_cast<int>(flags)));
}

Errno PosixStore::RemoveXattr(const Identity& identity, const wire::FileHandle& handle,
                              std::string_view name) {
  const AttributeName attribute(name);
  if (!attribute.error().ok()) return attribute.error();
  auto object = Enter(identity, handle);
  if (!object.ok()) return object.error();
  return ToErrno(removexattr(ProcName((*object)->fd.get()).path(), attribute.c_str()));
}

}  // namespace rdmafs
