// DeviceChannel: requests by read(2) and replies by writev(2) on /dev/fuse.
#pragma once

#include "absl/status/statusor.h"
#include "fuse/channel.h"
#include "fuse/helpers.h"
#include "transport/base/unique_fd.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// Tells the kernel, by a descriptor of the connection, something nobody asked for (FUSE_NOTIFY_*).
Errno Notify(int fd, fuse_notify_code code, absl::Span<const std::byte> body,
             absl::Span<const std::byte> data = {});

// A further descriptor of the connection that `fd` belongs to, with requests in progress of its own
// (FUSE_DEV_IOC_CLONE), non-blocking.
absl::StatusOr<UniqueFd> CloneDevice(int fd);

// See Channel. Takes up to 16 requests per round of the loop, each to 80 bytes before its block's
// payload.
class DeviceChannel final : public Channel {
 public:
  // How it shares the device with the channels of other shards.
  struct Sharing {
    Helpers* helpers = nullptr;   // nullptr: all take requests all the time
    bool is_helper = false;       // takes requests only while it is wanted
    bool calls_for_large = true;  // a transfer of 128 KiB or more calls the helpers
  };

  // `fd` is non-blocking, and INIT has been answered. `loop` and `pool` must outlive the channel,
  // and `sharing.helpers` its Stop().
  DeviceChannel(UniqueFd fd, EventLoop& loop, BufferPool& pool)
      : DeviceChannel(std::move(fd), loop, pool, Sharing()) {}
  DeviceChannel(UniqueFd fd, EventLoop& loop, BufferPool& pool, const Sharing& sharing);
  ~DeviceChannel() override;

  Errno Start(RequestSink& sink) override;
  void Stop() override;
  Errno Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
              absl::Span<const std::byte> data) override;
  Errno ReplyByPipe(const Ticket& ticket, PayloadPipe& pipe) override;
  bool takes_pipes() const override { return true; }
  absl::Span<const std::byte> GiveUp(uint64_t unique, bool& answered) override;
  Errno Notify(fuse_notify_code code, absl::Span<const std::byte> body,
               absl::Span<const std::byte> data) override;

 private:
  Errno Watch();
  void Rest();
  void RestLater();
  void RestUnlessWanted();
  void OnReadable();
  void Take(int limit);
  bool ReadOne();
  void WaitForBlock();
  void Close(Errno reason);

  const UniqueFd fd_;
  EventLoop& loop_;
  BufferPool& pool_;
  const Sharing sharing_;
  RequestSink* sink_ = nullptr;
  bool watching_ = false;
  EventLoop::TimerId rest_timer_ = 0;
  int taken_ = 0;              // requests of the last round
  unsigned rounds_alone_ = 0;  // with one request each, and no other since a look found one
  Buffer spare_;               // the next request of the round is read into it
};

}  // namespace rdmafs::fuse
