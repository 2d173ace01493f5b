// RemovalNotice: tells an event loop that a device is being removed.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "transport/base/event_loop.h"
#include "transport/rdma/device_watch.h"

namespace rdmafs::rdma {

// Owned by the loop's thread, and destroyed there.
class RemovalNotice {
 public:
  // Runs `gone` on the loop's thread when the device is removed, unless this is destroyed by then.
  // `device_fd` as DeviceWatch::Add() wants it. The watch and the loop must outlive this.
  RemovalNotice(DeviceWatch& watch, int device_fd, EventLoop& loop, std::function<void()> gone)
      : watch_(watch), gone_(std::make_shared<std::function<void()>>(std::move(gone))) {
    id_ = watch_.Add(device_fd, [&loop, weak = std::weak_ptr(gone_)] {
      loop.Post([weak] {
        if (auto wanted = weak.lock()) (*wanted)();
      });
    });
  }
  ~RemovalNotice() { watch_.Remove(id_); }
  RemovalNotice(const RemovalNotice&) = delete;
  RemovalNotice& operator=(const RemovalNotice&) = delete;

 private:
  DeviceWatch& watch_;
  const std::shared_ptr<std::function<void()>> gone_;
  int id_ = 0;
};

}  // namespace rdmafs::rdma
