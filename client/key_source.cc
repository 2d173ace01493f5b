#include "client/key_source.h"

#include "absl/strings/str_cat.h"
#include "transport/auth/key_file.h"

namespace rdmafs {

KeySource KeyOfFile(std::string file, std::string name) {
  return [file = std::move(file), name = std::move(name)]() -> absl::StatusOr<auth::Key> {
    absl::StatusOr<std::vector<auth::Key>> keys = auth::LoadKeys(file);
    if (!keys.ok()) return keys.status();
    for (auth::Key& key : *keys) {
      if (name.empty() || key.name == name) return std::move(key);
    }
    return absl::FailedPreconditionError(
        absl::StrCat(file, ": there is no key '", name, "' in it"));
  };
}

}  // namespace rdmafs
