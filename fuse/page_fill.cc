#include "fuse/page_fill.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstring>

namespace rdmafs::fuse {
namespace {

// The first releases of each series that have the commit; all series behind them do.
struct Release {
  int major, minor, patch;
};
constexpr Release kFirst[] = {{5, 4, 283}, {5, 10, 225}, {5, 15, 166},
                              {6, 1, 107}, {6, 6, 48},   {6, 10, 7}};

// The patch level that `text` names behind "MAJOR.MINOR."; the largest, or -1.
int PatchIn(const char* text, int major, int minor) {
  char series[16];
  const int length = std::snprintf(series, sizeof series, "%d.%d.", major, minor);
  int patch = -1, found = 0;
  for (const char* at = text; (at = std::strstr(at, series)) != nullptr; at += length) {
    const bool whole = at == text || (at[-1] != '.' && (at[-1] < '0' || at[-1] > '9'));
    if (whole && std::sscanf(at + length, "%d", &found) == 1) patch = std::max(patch, found);
  }
  return patch;
}

}  // namespace

bool ClearsStoredTails(const utsname& kernel) {
  int major = 0, minor = 0;
  if (std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2) return false;
  if (major > 6 || (major == 6 && minor >= 11)) return true;
  for (const Release& first : kFirst) {
    if (major != first.major || minor != first.minor) continue;
    // Debian's release names its ABI; the version has the number.
    return std::max(PatchIn(kernel.release, major, minor), PatchIn(kernel.version, major, minor)) >=
           first.patch;
  }
  return false;
}

uint64_t BeginUse(Node& node, uint32_t flags) {
  absl::MutexLock lock(&node.mutex);
  if ((flags & O_ACCMODE) != O_RDONLY) node.writer_count.fetch_add(1, std::memory_order_relaxed);
  ++node.open_count;
  return ++node.use_count;
}

void EndUse(Node& node, uint32_t flags) {
  absl::MutexLock lock(&node.mutex);
  if ((flags & O_ACCMODE) != O_RDONLY && node.writer_count.load(std::memory_order_relaxed) != 0)
    node.writer_count.fetch_sub(1, std::memory_order_relaxed);
  if (node.open_count != 0) --node.open_count;
}

void SeeResize(Node& node) {
  absl::MutexLock lock(&node.mutex);
  ++node.use_count;
}

uint32_t BytesToFill(const Settings& settings, Node& node, uint32_t flags) {
  // What is written back later is not to be overwritten.
  if (!settings.fills_pages || settings.UsesDirectIo() || settings.writeback) return 0;
  if ((flags & (O_ACCMODE | O_TRUNC | O_DIRECT | O_DIRECTORY)) != O_RDONLY) return 0;
  if (!S_ISREG(node.mode_told.load(std::memory_order_relaxed)) ||
      (settings.cache == CacheMode::kAlways &&
       node.may_have_pages.load(std::memory_order_relaxed))) {
    return 0;
  }
  absl::MutexLock lock(&node.mutex);
  const std::optional<FileStamp>& told = node.cache.told();
  if (node.open_count != 1 || !told || told->size > wire::kMaxOpenReadBytes ||
      node.cache.Keeps(*told)) {
    return 0;
  }
  return static_cast<uint32_t>(told->size);
}

bool FillPages(Context& context, Node& node, uint64_t use, const Attributes& attributes,
               absl::Span<const std::byte> data) {
  const FileStamp stamp = FileStamp::Of(attributes);
  if (data.empty() || data.size() != stamp.size) return false;
  fuse_notify_store_out store{};
  store.nodeid = node.id;
  store.size = static_cast<uint32_t>(data.size());
  // Held while the kernel is told: no other use begins meanwhile, so nobody has locked a page.
  absl::MutexLock lock(&node.mutex);
  if (node.open_count != 1 || node.use_count != use || !node.cache.MayFill(stamp)) return false;
  if (!context.channel().Notify(FUSE_NOTIFY_STORE, BytesOf(store), data).ok()) return false;
  node.may_have_pages.store(true, std::memory_order_relaxed);
  node.cache.OnFilled(stamp, (attributes.flags & wire::kUnsettled) == 0);
  return true;
}

}  // namespace rdmafs::fuse
