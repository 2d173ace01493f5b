#include "client/library/path_walk.h"

#include <errno.h>
#include <sys/stat.h>

#include <memory>
#include <utility>

#include "absl/strings/str_split.h"

namespace rdmafs::library {

void PathWalk::Start(FileSystem& file_system, const Caller& caller, const Entry& root,
                     std::string_view path, WalkEnd end, Reply<Found> reply) {
  auto* walk = new PathWalk(file_system, caller, root, end, std::move(reply));
  Errno error = path.empty() ? Errno(ENOENT) : walk->Prepend(path);
  if (!error.ok()) return walk->Finish(error);
  walk->Next();
}

Errno PathWalk::Prepend(std::string_view path) {
  if (path.size() > wire::kMaxPathBytes) return Errno(ENAMETOOLONG);
  if (path.front() == '/') way_.resize(1);
  std::vector<std::string> names =
      absl::StrSplit(absl::string_view(path.data(), path.size()), '/', absl::SkipEmpty());
  for (const std::string& name : names) {
    if (name.size() > wire::kMaxNameBytes) return Errno(ENAMETOOLONG);
  }
  names_.insert(names_.begin(), std::make_move_iterator(names.begin()),
                std::make_move_iterator(names.end()));
  return kOk;
}

void PathWalk::Next() {
  while (!names_.empty() && (names_.front() == "." || names_.front() == "..")) {
    if (end_ == WalkEnd::kParent && names_.size() == 1) return Finish(Errno(EINVAL));
    if (names_.front() == ".." && way_.size() > 1) way_.pop_back();
    names_.pop_front();
  }
  if (names_.empty()) {
    if (end_ == WalkEnd::kParent) return Finish(Errno(EINVAL));
    return Finish(Found{way_.back(), {}, {}});
  }
  if (names_.size() == 1 && end_ == WalkEnd::kParent)
    return Finish(Found{{}, way_.back().handle, std::move(names_.front())});
  file_system_.Lookup(caller_, way_.back().handle, names_.front(),
                      [this](Result<Entry> entry) { OnEntry(std::move(entry)); });
}

void PathWalk::OnEntry(Result<Entry> entry) {
  const bool is_last = names_.size() == 1;
  if (!entry.ok()) {
    if (is_last && end_ == WalkEnd::kMake && entry.error() == Errno(ENOENT))
      return Finish(Found{{}, way_.back().handle, std::move(names_.front())});
    return Finish(entry.error());
  }
  names_.pop_front();
  if (S_ISLNK(entry->attributes.mode) && !(is_last && end_ == WalkEnd::kObjectNoLink)) {
    if (++link_count_ > kMaxLinks) return Finish(Errno(ELOOP));
    file_system_.ReadLink(caller_, entry->handle,
                          [this](Result<Payload> target) { OnTarget(std::move(target)); });
    return;
  }
  way_.push_back(*std::move(entry));
  Next();
}

void PathWalk::OnTarget(Result<Payload> target) {
  if (!target.ok()) return Finish(target.error());
  const std::string text(reinterpret_cast<const char*>(target->bytes.data()),
                         target->bytes.size());
  if (text.empty()) return Finish(Errno(ENOENT));
  if (Errno error = Prepend(text); !error.ok()) return Finish(error);
  Next();
}

void PathWalk::Finish(Result<Found> found) {
  const std::unique_ptr<PathWalk> self(this);
  reply_.Complete(std::move(found));
}

}  // namespace rdmafs::library
