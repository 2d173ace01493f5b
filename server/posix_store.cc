#include "server/posix_store.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server/posix_calls.h"
#include "server/posix_objects.h"

namespace rdmafs {
namespace {

// `path` below `root`, symlinks resolved as if `root` were "/", or -1.
int OpenBelow(int root, const std::string& path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PosixStore>> PosixStore::Open(const PosixStoreOptions& options) {
  auto objects = PosixObjects::Open(options);
  if (!objects.ok()) return objects.status();
  return std::unique_ptr<PosixStore>(new PosixStore(*std::move(objects)));
}

PosixStore::PosixStore(std::unique_ptr<PosixObjects> objects) : objects_(std::move(objects)) {}
PosixStore::~PosixStore() = default;

bool PosixStore::handles_survive_restart() const { return !objects_->table(); }
size_t PosixStore::open_objects() const { return objects_->open_objects(); }

Result<ObjectRef> PosixStore::Enter(const Identity& identity, const wire::FileHandle& handle,
                                    SetIdBits bits) {
  // First the identity: a peer that may not be served learns nothing about handles.
  if (Errno error = ThreadCredentials::OfThisThread().Assume(identity, bits); !error.ok())
    return error;
  return objects_->Resolve(handle);
}

Result<StoreEntry> PosixStore::Attach(const Identity& identity, std::string_view path) {
  auto root = Enter(identity, objects_->root_handle());
  if (!root.ok()) return root.error();
  if (path.size() > wire::kMaxPathBytes) return Errno(ENAMETOOLONG);
  if (path.find('\0') != path.npos) return Errno(EINVAL);
  while (!path.empty() && path.front() == '/') path.remove_prefix(1);
  UniqueFd fd(OpenBelow((*root)->fd.get(), path.empty() ? "." : std::string(path)));
  if (!fd.valid()) return LastErrno();
  return objects_->Admit(std::move(fd));
}

void PosixStore::Forget(const wire::FileHandle& handle) { objects_->Forget(handle); }

}  // namespace rdmafs
