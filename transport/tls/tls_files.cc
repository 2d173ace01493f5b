#include "transport/tls/tls_files.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/auth/key_file.h"

namespace rdmafs {

TlsFiles::TlsFiles(const std::vector<std::string>& files, Make make) : make_(std::move(make)) {
  for (const std::string& file : files) {
    if (!file.empty()) files_.push_back(file);
  }
}

absl::Status TlsFiles::Load() {
  // Before the content: what changes meanwhile is seen by the next question.
  std::string stamp = Stamp();
  auto made = make_();
  absl::MutexLock lock(&mutex_);
  stamp_ = std::move(stamp);
  if (made.ok()) context_ = *std::move(made);
  return made.status();
}

std::optional<absl::Status> TlsFiles::LoadIfChanged() {
  {
    std::string stamp = Stamp();
    absl::MutexLock lock(&mutex_);
    if (stamp == stamp_) return std::nullopt;
    stamp_ = std::move(stamp);  // for others who ask meanwhile
  }
  return Load();
}

std::shared_ptr<const TlsContext> TlsFiles::context() const {
  absl::MutexLock lock(&mutex_);
  return context_;
}

std::string TlsFiles::Stamp() const {
  std::string stamp;
  for (const std::string& file : files_) absl::StrAppend(&stamp, auth::KeyFileStamp(file), "\n");
  return stamp;
}

}  // namespace rdmafs
