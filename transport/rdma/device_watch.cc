#include "transport/rdma/device_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "transport/base/errno.h"
#include "transport/base/log.h"

namespace rdmafs::rdma {

int DeviceWatch::Add(int device_fd, Callback gone) {
  absl::MutexLock lock(&mutex_);
  if (!started_) started_ = Start();
  // Again each time: what was watched is gone when the directory has been made anew.
  if (!started_ ||
      inotify_add_watch(directory_.get(), directory_name_.c_str(), IN_DELETE | IN_ONLYDIR) < 0) {
    Log(LogLevel::kWarning, "rdma: the removal of devices will not be noticed: ", directory_name_,
        " cannot be watched: ", Errno(errno).ToString());
  }
  const int id = next_id_++;
  watched_[id] = {device_fd, std::move(gone)};
  if (IsGone(device_fd)) Wake();  // before we looked
  return id;
}

void DeviceWatch::Remove(int id) {
  auto idle = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !calling_; };
  absl::MutexLock lock(&mutex_);
  if (watched_.erase(id) == 0 && id != 0) mutex_.Await(absl::Condition(&idle));
}

void DeviceWatch::Cancel(int id) {
  absl::MutexLock lock(&mutex_);
  watched_.erase(id);
}

bool DeviceWatch::IsGone(int device_fd) {
  struct stat status {};
  return fstat(device_fd, &status) == 0 && S_ISCHR(status.st_mode) && status.st_nlink == 0;
}

DeviceWatch::~DeviceWatch() {
  std::thread thread;
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
    thread.swap(thread_);
  }
  if (!thread.joinable()) return;
  Wake();
  thread.join();
}

void DeviceWatch::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
}

bool DeviceWatch::Start() {
  directory_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!directory_.valid() || !wake_.valid()) return false;
  thread_ = std::thread([this] { Run(); });
  return true;
}

void DeviceWatch::Run() {
  std::array<pollfd, 2> descriptors{pollfd{directory_.get(), POLLIN, 0},
                                    pollfd{wake_.get(), POLLIN, 0}};
  do {
    (void)poll(descriptors.data(), descriptors.size(), -1);
    alignas(inotify_event) std::array<char, 4096> events;
    for (const pollfd& descriptor : descriptors) {
      while (read(descriptor.fd, events.data(), events.size()) > 0) {
      }
    }
  } while (Look());
}

bool DeviceWatch::Look() {
  std::vector<Callback> callbacks;
  {
    absl::MutexLock lock(&mutex_);
    if (ending_) return false;
    std::erase_if(watched_, [&](auto& entry) {
      if (!IsGone(entry.second.device_fd)) return false;
      callbacks.push_back(std::move(entry.second.gone));
      return true;
    });
    calling_ = !callbacks.empty();
  }
  for (Callback& gone : callbacks) gone();
  absl::MutexLock lock(&mutex_);
  calling_ = false;
  return true;
}

}  // namespace rdmafs::rdma
