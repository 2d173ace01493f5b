#include "server/export_directory.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/posix_store.h"

namespace rdmafs::server {

absl::StatusOr<std::unique_ptr<ExportDirectory>> ExportDirectory::Open(
    const ServerConfiguration& configuration, const Clock& clock) {
  std::unique_ptr<ExportDirectory> directory(new ExportDirectory());
  uint32_t id = 1;
  for (const std::string& path : configuration.directories) {
    auto store = PosixStore::Open(
        {.path = path, .export_id = id, .key = RandomHandleKey(), .clock = &clock});
    if (!store.ok()) return store.status();
    auto attachment = std::make_shared<Attachment>();
    attachment->export_id = id++;
    attachment->store = std::move(*store);
    attachment->root_squash = !absl::StrContains(configuration.export_options, "no_root_squash");
    directory->exports_.emplace_back(path, attachment);
  }
  if (directory->exports_.empty()) return absl::InvalidArgumentError("no directory to export");
  return directory;
}

absl::Status ExportDirectory::Reload() { return absl::OkStatus(); }

Result<ExportSource::Found> ExportDirectory::Find(std::string_view, std::string_view path) {
  for (auto& [root, attachment] : exports_) {
    if (path == root) return Found{attachment, ""};
  }
  return Errno(ENOENT);
}

std::string ExportDirectory::Summary() const {
  std::string text;
  for (auto& [root, attachment] : exports_) absl::StrAppend(&text, text.empty() ? "" : " ", root);
  return text;
}

std::vector<std::pair<std::string, std::string>> ExportDirectory::List() const { return {}; }

}  // namespace rdmafs::server
