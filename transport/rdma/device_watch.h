// DeviceWatch: notices that a device is being removed, where the removal waits for us.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "transport/base/unique_fd.h"

namespace rdmafs::rdma {

// Without disassociate_ucontext (Soft-RoCE, Soft-iWARP) the kernel waits until nobody has the
// device open before it tells rdma_cm, whose DEVICE_REMOVAL so never comes. What it does first is
// to take the device's file away. Thread-safe. A thread, made with the first watch, sleeps until
// that happens.
class DeviceWatch {
 public:
  // Called on the watch's thread, at most once. Must not wait for anything of the peer's, and of
  // the watch call Cancel() only.
  using Callback = std::function<void()>;

  explicit DeviceWatch(std::string directory = "/dev/infiniband")
      : directory_name_(std::move(directory)) {}
  ~DeviceWatch();
  DeviceWatch(const DeviceWatch&) = delete;
  DeviceWatch& operator=(const DeviceWatch&) = delete;

  // `device_fd`: an open device file (ibv_context::cmd_fd), until Remove() or Cancel(). Returns an
  // id, never 0. Where the directory cannot be watched nothing is ever called.
  int Add(int device_fd, Callback gone);
  // `gone` does not run now nor later. 0 is no watch.
  void Remove(int id);
  // `gone` begins no more, but may be running.
  void Cancel(int id);

  // Whether the file that `device_fd` was opened from is there no more.
  static bool IsGone(int device_fd);

 private:
  struct Watched {
    int device_fd;
    Callback gone;
  };

  bool Start() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake();
  void Run();
  bool Look();  // false when the watch ends

  const std::string directory_name_;
  UniqueFd directory_, wake_;  // constant once thread_ runs
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
  absl::Mutex mutex_;
  std::map<int, Watched> watched_ ABSL_GUARDED_BY(mutex_);
  int next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  bool calling_ ABSL_GUARDED_BY(mutex_) = false;  // callbacks of entries that watched_ has no more
};

}  // namespace rdmafs::rdma
