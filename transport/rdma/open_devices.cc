#include "transport/rdma/open_devices.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <iterator>

#include "transport/base/unique_fd.h"

namespace rdmafs::rdma {
namespace {

constexpr char kNothing[] = "/dev/null";

// The numbers stay taken, by something harmless: librdmacm will close them one day. If it has done
// so already, they are not those of a device that is gone. False while the device's file is there,
// or nothing can be opened.
bool CloseDevice(int command_fd, int async_fd) {
  const UniqueFd nothing(open(kNothing, O_RDWR | O_CLOEXEC));
  if (!nothing.valid() || !DeviceWatch::IsGone(command_fd)) return false;
  (void)dup3(nothing.get(), async_fd, O_CLOEXEC);
  (void)dup3(nothing.get(), command_fd, O_CLOEXEC);
  return true;
}

bool IsClosed(int command_fd) {
  struct stat status {};
  return fstat(command_fd, &status) == 0 && S_ISCHR(status.st_mode) &&
         status.st_rdev == makedev(1, 3);
}

}  // namespace

std::shared_ptr<OpenDevices> OpenDevices::OfProcess() {
  static absl::Mutex mutex(absl::kConstInit);
  // Never destroyed: a thread may outlive main().
  static auto& weak = *new std::weak_ptr<OpenDevices>();
  static pid_t process = 0;
  absl::MutexLock lock(&mutex);
  // A forked child's copy of its parent's has no thread.
  std::shared_ptr<OpenDevices> devices = process == getpid() ? weak.lock() : nullptr;
  process = getpid();
  if (devices == nullptr) weak = devices = std::make_shared<OpenDevices>();
  return devices;
}

void OpenDevices::Know(ibv_context& device) {
  absl::MutexLock lock(&mutex_);
  (void)Find(device);
}

// rdma_cm leads to a closed one until the kernel has removed the device for it, too; and an entry
// of one that librdmacm has freed may be at the address of a new one.
OpenDevices::Devices::iterator OpenDevices::Find(ibv_context& device) {
  auto found = devices_.find(&device);
  if (found != devices_.end() && found->second.user_count == 0 &&
      (found->second.command_fd != device.cmd_fd || found->second.async_fd != device.async_fd)) {
    watch_.Cancel(found->second.watch_id);
    devices_.erase(found);
    found = devices_.end();
  }
  if (found != devices_.end() || IsClosed(device.cmd_fd)) return found;
  const int watch_id = watch_.Add(device.cmd_fd, [this] { ForgetGone(); });
  return devices_
      .try_emplace(
          &device,
          Device{.command_fd = device.cmd_fd, .async_fd = device.async_fd, .watch_id = watch_id})
      .first;
}

std::shared_ptr<ibv_context> OpenDevices::Use(ibv_context& device) {
  absl::MutexLock lock(&mutex_);
  auto found = Find(device);
  if (found == devices_.end() || found->second.removed) return nullptr;
  ++found->second.user_count;
  return {&device, [self = shared_from_this()](ibv_context* used) { self->EndUse(used); }};
}

void OpenDevices::EndUse(ibv_context* device) {
  absl::MutexLock lock(&mutex_);
  auto found = devices_.find(device);
  --found->second.user_count;
  (void)CloseIfUnused(found);
}

void OpenDevices::Forget(ibv_context* device) {
  absl::MutexLock lock(&mutex_);
  auto found = devices_.find(device);
  if (found == devices_.end()) return;
  found->second.removed = true;
  (void)CloseIfUnused(found);
}

void OpenDevices::ForgetGone() {
  absl::MutexLock lock(&mutex_);
  for (auto device = devices_.begin(); device != devices_.end();) {
    device->second.removed =
        device->second.removed || DeviceWatch::IsGone(device->second.command_fd);
    device = CloseIfUnused(device);
  }
}

// What follows `device`. Where rdma_cm hears of the removal before the file goes, the watch will be
// back.
OpenDevices::Devices::iterator OpenDevices::CloseIfUnused(Devices::iterator device) {
  if (!device->second.removed || device->second.user_count != 0 ||
      !CloseDevice(device->second.command_fd, device->second.async_fd)) {
    return std::next(device);
  }
  watch_.Cancel(device->second.watch_id);
  return devices_.erase(device);  // the next context may have this one's address
}

}  // namespace rdmafs::rdma
