// PageCachePolicy: whether an open may keep what the kernel has cached of a file (close-to-open).
#pragma once

#include <cstdint>
#include <optional>

#include "transport/wire/types.h"

namespace rdmafs::fuse {

enum class CacheMode { kNone, kAuto, kAlways };

// What tells one state of a file's content from another.
struct FileStamp {
  uint64_t size = 0;
  int64_t mtime_s = 0, ctime_s = 0;
  uint32_t mtime_ns = 0, ctime_ns = 0;

  static FileStamp Of(const wire::Attributes& attributes) {
    return {attributes.size, attributes.mtime_s, attributes.ctime_s, attributes.mtime_ns,
            attributes.ctime_ns};
  }
  friend bool operator==(const FileStamp&, const FileStamp&) = default;
};

// One file's. The pages that the kernel has were read after the last open that dropped them. They
// still stand if that open's stamp was settled, and no open and no attributes since showed another:
// then a change, ours or another client's, has not happened. What is not known for sure drops the
// pages. A value; its owner locks.
class PageCachePolicy {
 public:
  struct OpenDecision {
    bool keep_pages = false;
    // The kernel believes other attributes than the server now has: it must ask again.
    bool attributes_are_stale = false;
  };

  // An open whose reply said `stamp`. settled: any change from now on gives another one.
  OpenDecision OnOpen(const FileStamp& stamp, bool settled, CacheMode mode) {
    OpenDecision decision;
    decision.keep_pages = mode == CacheMode::kAlways || (mode == CacheMode::kAuto && Keeps(stamp));
    decision.attributes_are_stale = mode != CacheMode::kAlways && told_ != stamp;
    pages_.reset();
    if (settled) pages_ = stamp;
    if (!decision.keep_pages) ++dropping_count_;
    return decision;
  }

  // Whether the pages that the kernel has are known to be those of a file that is `stamp`.
  bool Keeps(const FileStamp& stamp) const { return pages_ == stamp && dropping_count_ == 0; }
  // Whether the kernel may be given the pages of a file that is `stamp`: it believes that, too, and
  // is not about to drop any.
  bool MayFill(const FileStamp& stamp) const { return told_ == stamp && dropping_count_ == 0; }
  // It was.
  void OnFilled(const FileStamp& stamp, bool settled) {
    pages_.reset();
    if (settled) pages_ = stamp;
  }

  // The kernel drops the pages after the answer to an open that did not keep them: now it has, or
  // never will. Until then another open must not keep what is still there.
  void OnDropped() { --dropping_count_; }

  // The kernel is being told attributes with `stamp`.
  void OnAttributes(const FileStamp& stamp) {
    if (pages_ && *pages_ != stamp) pages_.reset();
    told_ = stamp;
  }
  const std::optional<FileStamp>& told() const { return told_; }

 private:
  std::optional<FileStamp> pages_;  // of the file when the kernel's pages were read, if settled
  std::optional<FileStamp> told_;   // what the kernel was told last
  uint32_t dropping_count_ = 0;
};

}  // namespace rdmafs::fuse
