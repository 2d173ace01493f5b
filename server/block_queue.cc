#include "server/block_queue.h"

#include "server/channel.h"

namespace rdmafs::server {

void BlockQueue::Wait(Call& call, Call::Step next) {
  call.block_next = next;
  queue_.Push(call);
  ++waiting_count_;
  Ask();
}

void BlockQueue::Ask() {
  if (asked_) return;
  asked_ = true;
  pool_.WhenAvailable([this] {
    loop_.Post([this] {
      asked_ = false;
      Serve();
    });
  });
}

void BlockQueue::Serve() {
  while (!queue_.empty()) {
    Buffer buffer = pool_.Take();
    if (!buffer) return Ask();
    Call& call = static_cast<Call&>(*queue_.Pop());
    --waiting_count_;
    if (!call.channel().open()) {
      Call::Finish(call);
      continue;
    }
    call.buffer() = std::move(buffer);
    call.block_next(call);
  }
}

}  // namespace rdmafs::server
