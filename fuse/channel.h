// Channel: where a shard's requests come from and where its replies go.
#pragma once

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "fuse/request.h"
#include "transport/base/errno.h"
#include "transport/base/event_loop.h"
#include "transport/base/pipe.h"

namespace rdmafs::fuse {

// Who takes the requests. Called on the channel's shard thread only.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  // `request` and the views in it stand until the call returns; `request.block` may be moved out.
  virtual void OnRequest(Request& request) = 0;
  // No request will come any more: ENODEV after an unmount. Comes once, and not after Stop().
  virtual void OnClosed(Errno reason) = 0;
};

// Owned by one shard thread. It stops taking requests while the shard's pool is empty.
class Channel {
 public:
  virtual ~Channel() = default;

  virtual Errno Start(RequestSink& sink) = 0;
  // No request is delivered any more; replies still go out. Idempotent.
  virtual void Stop() = 0;
  // Answers a request with an error, or with `head` followed by `data`. Copied before it returns.
  // ENOENT: nobody waits for the answer any more, and the kernel has not seen it; ENODEV:
  // unmounted.
  virtual Errno Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
                      absl::Span<const std::byte> data) = 0;
  // Answers a request with what `pipe` holds, as Reply(); the pipe is empty then. Where
  // takes_pipes().
  virtual Errno ReplyByPipe(const Ticket& ticket, PayloadPipe& pipe) { return Errno(EOPNOTSUPP); }
  virtual bool takes_pipes() const { return false; }
  // Answers request `unique` with EINTR although its operation is still under way; `answered` says
  // whether that was done. It is not when the request is not one of this channel's, and not when
  // its answer has to come in the memory that the operation may still use: that memory is what is
  // returned.
  virtual absl::Span<const std::byte> GiveUp(uint64_t unique, bool& answered) = 0;
  // The requests without an answer that came by a way on which the kernel may lose an INTERRUPT.
  virtual void ForEachThatMayLoseInterrupts(
      absl::FunctionRef<void(uint64_t unique, uint32_t tid, Nanoseconds since)>) const {}
  // Tells the kernel something nobody asked for (FUSE_NOTIFY_*).
  virtual Errno Notify(fuse_notify_code code, absl::Span<const std::byte> body,
                       absl::Span<const std::byte> data = {}) = 0;
  // Payload bytes that were copied to hand them to the kernel. Any thread.
  virtual uint64_t copied_bytes() const { return 0; }
};

}  // namespace rdmafs::fuse
