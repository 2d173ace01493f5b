// UringChannel: requests and replies over FUSE's io_uring (Linux 6.14 and newer).
#pragma once

#include <liburing.h>

#include <memory>
#include <string>
#include <vector>

#include "fuse/channel.h"
#include "fuse/device_channel.h"
#include "fuse/uring_abi.h"
#include "transport/base/unique_fd.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {

// See Channel. The payload of each entry is a block of the pool, held for the channel's life: what
// a WRITE brings lies in registered memory, and a READ's data that landed in the block is handed
// over without being touched. Other answers (at most 4 KiB) are copied into it. What the kernel
// only sends by the device (FORGET, INTERRUPT, and all that comes before every queue has an entry)
// the DeviceChannel beside it takes.
//
// The shard's loop sleeps in the ring: handing in an answer and waiting for the next request is one
// system call.
class UringChannel final : public Channel, private EventSleeper {
 public:
  struct Options {
    size_t shard = 0;  // serves the queues of the CPUs whose number modulo shard_count is this
    size_t shard_count = 1;
    size_t queue_count = 1;  // of the mount: QueueCount()
    size_t depth = 1;        // entries of a queue
  };

  // How many queues the kernel wants: one for each possible CPU.
  static size_t QueueCount();
  // Entries for each queue out of half of a mount's `pool_bytes`; 0 when that is too little to be
  // useful.
  static size_t Depth(size_t pool_bytes, size_t queue_count);
  // Whether this process may use io_uring as it is needed here; else why not.
  static std::string FindObstacle();

  // `fd` and the others as for DeviceChannel. On the loop's thread.
  UringChannel(UniqueFd fd, EventLoop& loop, BufferPool& pool, const Options& options);
  ~UringChannel() override;

  // An error when the ring cannot be had; the kernel then goes on by the device, which is served.
  Errno Start(RequestSink& sink) override;
  void Stop() override;
  Errno Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
              absl::Span<const std::byte> data) override;
  Errno Notify(fuse_notify_code code, absl::Span<const std::byte> body,
               absl::Span<const std::byte> data) override {
    return device_.Notify(code, body, data);
  }
  absl::Span<const std::byte> GiveUp(uint64_t unique, bool& answered) override;
  // A signal that comes while the kernel hands a request over (before it has marked it as sent) is
  // recorded there, and nowhere passed on: fs/fuse/dev_uring.c of Linux 6.18.
  void ForEachThatMayLoseInterrupts(
      absl::FunctionRef<void(uint64_t unique, uint32_t tid, Nanoseconds since)> see) const override;
  uint64_t copied_bytes() const override { return copied_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    Buffer block;
    iovec parts[2] = {};  // header and payload, read by the kernel when REGISTER is submitted
    uint16_t queue = 0;
    uint64_t unique = 0;
    uint64_t commit_id = 0;
    uint32_t tid = 0;
    Nanoseconds start = 0;
    bool with_request = false;  // the kernel waits for its answer
    bool waits_for_lock = false;
  };

  bool Sleep(Nanoseconds most) override;
  bool Reap();
  void OnCompletion(size_t number, int result);
  void Deliver(size_t number);
  void Command(size_t number, UringCommand command);
  io_uring_sqe* NextSubmission();
  bool TakesTooManyLocks(const Entry& entry, uint32_t opcode);
  UringRequestHeader& HeaderOf(Entry& entry) const;

  EventLoop& loop_;
  BufferPool& pool_;
  const Options options_;
  const int fd_;  // the device channel's
  DeviceChannel device_;

  RequestSink* sink_ = nullptr;
  io_uring ring_{};
  bool ring_exists_ = false;
  bool poll_armed_ = false;  // the ring watches the loop's descriptor
  std::vector<Entry> entries_;
  std::vector<size_t> waiting_locks_;  // by queue
  std::atomic<uint64_t> copied_bytes_{0};
};

}  // namespace rdmafs::fuse
