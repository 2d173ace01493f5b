// PosixStore: extended attributes, POSIX ACLs among them.
#include <linux/limits.h>
#include <linux/xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "server/posix_calls.h"
#include "server/posix_objects.h"
#include "server/posix_store.h"
#include "server/thread_credentials.h"

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

// Whoever writes to a file takes its capabilities, as does an owner who gives it away. A client's
// kernel does that with removexattr(2), as this user, to whom it would refuse the call itself.
bool MayChange(const Identity& identity, int fd) {
  if (MayAccess(fd, W_OK).ok()) return true;
  struct stat status;
  return fstat(fd, &status) == 0 && status.st_uid == identity.uid;
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
  const ProcName file((*object)->fd.get());
  if (removexattr(file.path(), attribute.c_str()) == 0) return kOk;
  const Errno error = LastErrno();
  if (error != Errno(EPERM) || name != XATTR_NAME_CAPS || !MayChange(identity, (*object)->fd.get()))
    return error;
  ThreadCredentials::ServerScope as_server;
  return ToErrno(removexattr(file.path(), attribute.c_str()));
}

}  // namespace rdmafs
