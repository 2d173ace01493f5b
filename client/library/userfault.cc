#include "client/library/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace rdmafs::library {
namespace {

constexpr uint64_t kEvents =
    UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;

uintptr_t PageBytes() {
  static const auto size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

uffdio_range RangeOf(AddressRange pages) { return {pages.begin, pages.end - pages.begin}; }

// From 5.19 on memory that is pinned stays its owner's when that forks, whatever is pinned for: so
// the event of a fork is not asked for. fork(2) would wait for whoever takes it, with all locks
// that atfork handlers hold.
absl::Status CheckKernel() {
  utsname names;
  int major = 0, minor = 0;
  if (::uname(&names) != 0 || std::sscanf(names.release, "%d.%d", &major, &minor) != 2 ||
      major < 5 || (major == 5 && minor < 19)) {
    return absl::FailedPreconditionError("mr_cache=uffd needs Linux 5.19");
  }
  return absl::OkStatus();
}

absl::Status Failure(const char* what) {
  return absl::FailedPreconditionError(
      absl::StrCat("mr_cache=uffd: ", what, ": ", std::strerror(errno)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Userfault>> Userfault::Open() {
  if (absl::Status status = CheckKernel(); !status.ok()) return status;
  std::unique_ptr<Userfault> made(new Userfault);
  // Faults of the kernel itself are not for us; asking for none of them needs no privilege.
  absl::Status status = made->OpenWith(UFFDIO_REGISTER_MODE_WP, UFFD_USER_MODE_ONLY,
                                       kEvents | UFFD_FEATURE_PAGEFAULT_FLAG_WP);
  if (status.ok()) status = made->MakeProbe();
  if (!status.ok()) {
    status = made->OpenWith(UFFDIO_REGISTER_MODE_MISSING, 0, kEvents);
    if (status.ok()) status = made->MakeProbe();
  }
  if (!status.ok()) return status;
  return made;
}

absl::Status Userfault::OpenWith(uint64_t mode, int flags, uint64_t features) {
  fd_.reset(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags)));
  if (!fd_.valid()) return Failure("userfaultfd(2)");
  uffdio_api api{UFFD_API, features, 0};
  if (::ioctl(fd_.get(), UFFDIO_API, &api) != 0)
    return Failure("this kernel's userfaultfd does not tell of changed mappings");
  mode_ = mode;
  return absl::OkStatus();
}

absl::Status Userfault::MakeProbe() {
  if (probe_ == nullptr) {
    void* page =
        ::mmap(nullptr, PageBytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return Failure("mmap(2)");
    probe_ = page;
    (void)::madvise(page, PageBytes(), MADV_DONTFORK);
    *static_cast<volatile char*>(page) = 1;
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(probe_);
  if (!Watch({begin, begin + PageBytes()})) return Failure("watching memory");
  return absl::OkStatus();
}

Userfault::~Userfault() {
  if (probe_ != nullptr) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(probe_);
    Unwatch({begin, begin + PageBytes()});
    ::munmap(probe_, PageBytes());
  }
}

bool Userfault::Watch(AddressRange pages) {
  uffdio_register watch{RangeOf(pages), mode_, 0};
  return ::ioctl(fd_.get(), UFFDIO_REGISTER, &watch) == 0;
}

void Userfault::Unwatch(AddressRange pages) {
  uffdio_range range = RangeOf(pages);
  (void)::ioctl(fd_.get(), UFFDIO_UNREGISTER, &range);
}

// Both requests change nothing, and give EAGAIN while a change waits for its event to be taken.
bool Userfault::IsChanging() const {
  const uffdio_range page{reinterpret_cast<uintptr_t>(probe_), PageBytes()};
  if (mode_ == UFFDIO_REGISTER_MODE_WP) {
    uffdio_writeprotect none{page, UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
    if (::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &none) == 0) return false;
  } else {
    uffdio_zeropage there_is_one{page, UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0};
    if (::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &there_is_one) != 0 && errno == EEXIST) return false;
  }
  return true;  // whatever else went wrong: nothing is known to stand
}

int Userfault::Take(MappingChange (&changes)[2]) {
  using Kind = MappingChange::Kind;
  uffd_msg message;
  while (::read(fd_.get(), &message, sizeof message) == sizeof message) {
    const auto& moved = message.arg.remap;
    const auto& removed = message.arg.remove;
    switch (message.event) {
      case UFFD_EVENT_UNMAP:
        changes[0] = {Kind::kGone, {removed.start, removed.end}};
        return 1;
      case UFFD_EVENT_REMOVE:
        changes[0] = {Kind::kDiscarded, {removed.start, removed.end}};
        return 1;
      case UFFD_EVENT_REMAP:
        changes[0] = {Kind::kGone, {moved.from, moved.from + moved.len}};
        changes[1] = {Kind::kMoved, {moved.to, moved.to + moved.len}};
        return 2;
      case UFFD_EVENT_PAGEFAULT:
        FillPage(message.arg.pagefault.address);
        break;
      default:
        break;
    }
  }
  return 0;
}

// A page that cannot be filled now is faulted again.
void Userfault::FillPage(uintptr_t address) const {
  const uffdio_range page{address & ~(PageBytes() - 1), PageBytes()};
  uffdio_zeropage fill{page, 0, 0};
  if (::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &fill) == 0) return;
  uffdio_range wake = page;
  (void)::ioctl(fd_.get(), UFFDIO_WAKE, &wake);
}

}  // namespace rdmafs::library
