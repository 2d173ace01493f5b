// OpenDevices: the devices that this process has open, and letting go of those that are removed.
#pragma once

#include <infiniband/verbs.h>

#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/rdma/device_watch.h"

namespace rdmafs::rdma {

// Contexts are librdmacm's, which keeps each open until it learns of another device: a removal that
// waits for its users would wait for ever. So who is the last to use one closes its files.
// Thread-safe.
class OpenDevices : public std::enable_shared_from_this<OpenDevices> {
 public:
  // All transports' of this process, as contexts are: one must not close what another uses. Made
  // for the first of those who hold it, with which a process that forks waits.
  static std::shared_ptr<OpenDevices> OfProcess();

  explicit OpenDevices(std::string directory = "/dev/infiniband") : watch_(std::move(directory)) {}
  OpenDevices(const OpenDevices&) = delete;
  OpenDevices& operator=(const OpenDevices&) = delete;

  // From now on the device is let go of when it is removed. To be called of every context that
  // librdmacm hands out, as it opens the device for that. It must be in use, or an id be bound to
  // it, during the call.
  void Know(ibv_context& device);
  // To be held as long as there are domains, queues or memory of the device: what is mapped of its
  // files cannot be unmapped once they are closed. nullptr when it is being removed. The context
  // itself is not looked at when it is given back.
  std::shared_ptr<ibv_context> Use(ibv_context& device);
  // It is being removed: whoever uses it should end that.
  void Forget(ibv_context* device);

  // For users, to hear of a removal.
  DeviceWatch& watch() { return watch_; }

 private:
  struct Device {
    int command_fd = -1, async_fd = -1;
    int watch_id = 0;
    int user_count = 0;
    bool removed = false;
  };
  using Devices = std::map<ibv_context*, Device>;

  // end() of a context whose files were closed here.
  Devices::iterator Find(ibv_context& device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndUse(ibv_context* device);
  void ForgetGone();
  Devices::iterator CloseIfUnused(Devices::iterator device) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  Devices devices_ ABSL_GUARDED_BY(mutex_);
  DeviceWatch watch_;  // destroyed first: it calls ForgetGone()
};

}  // namespace rdmafs::rdma
