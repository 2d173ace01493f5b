#include "transport/rdma/send_queue.h"

#include <cstring>

namespace rdmafs::rdma {
namespace {

ibv_sge Sge(const void* data, size_t size, uint32_t lkey) {
  return {.addr = reinterpret_cast<uintptr_t>(data),
          .length = static_cast<uint32_t>(size),
          .lkey = lkey};
}

bool Binds(const SendQueue::Message& message) { return message.binding.window != nullptr; }

uint8_t WrCount(const SendQueue::Message& message) {
  return message.push.empty() && !Binds(message) ? 1 : 2;
}

size_t HeadSize(const SendQueue::Message& message) {
  return sizeof message.header + message.body.size();
}

}  // namespace

SendQueue::SendQueue(const Options& options, SendRing ring)
    : options_(options),
      ring_(std::move(ring)),
      posted_(options.max_wr),
      reads_(options.queue_limit),
      permits_(options.permits) {
  CHECK(options.max_wr >= kMinSendWr);
}

Errno SendQueue::Post(Message message) {
  if (!fault_.ok()) return Errno(ENOTCONN);
  if (waiting_.empty() && HasRoom(message)) {
    Submit(message);
    return kOk;
  }
  if (waiting_.size() >= options_.queue_limit) return Errno(ENOBUFS);
  Waiting waiting{std::move(message), {}};
  waiting.body.assign(waiting.message.body.begin(), waiting.message.body.end());
  waiting_.push_back(std::move(waiting));
  waiting_.back().message.body = waiting_.back().body;
  return kOk;
}

bool SendQueue::Inlined(const Message& message) const {
  return HeadSize(message) + message.inline_payload.size() <= options_.max_inline;
}

bool SendQueue::HasRoom(const Message& message) const {
  if (options_.bind_alone && Binds(message) && !posted_.empty()) return false;
  return permits_ != 0 && used_wr_ + WrCount(message) <= options_.max_wr && !posted_.full() &&
         (Inlined(message) || ring_.Fits(HeadSize(message)));
}

void SendQueue::Submit(Message& message) {
  ibv_sge sges[3];
  ibv_send_wr send{};
  send.wr_id = posted_.next_number();
  send.opcode = message.invalidate ? IBV_WR_SEND_WITH_INV : IBV_WR_SEND;
  if (message.invalidate) send.invalidate_rkey = *message.invalidate;
  send.sg_list = sges;
  send.send_flags = Inlined(message) ? IBV_SEND_INLINE : 0;
  send.num_sge = Gather(message, sges);

  Posted posted{
      .ring_block = ring_.current(), .wr_count = WrCount(message), .binds = Binds(message)};
  if (!message.push.empty() || (!Inlined(message) && !message.inline_payload.empty())) {
    posted.hold = std::move(message.hold);
  }
  if (options_.signal_all || posted.hold || ++unsignalled_ == kSignalEvery) {
    send.send_flags |= IBV_SEND_SIGNALED;
    unsignalled_ = 0;
  }
  used_wr_ += posted.wr_count;
  if (permits_ != UINT32_MAX) --permits_;
  posted_.Push(std::move(posted));
  SubmitChain(message, send);
}

// `send`, behind what its message has to come after.
void SendQueue::SubmitChain(const Message& message, ibv_send_wr& send) {
  if (Binds(message)) {
    ibv_send_wr bind = BindRequest(message.binding, send.wr_id, &send);
    PostChain(&bind);
    if (fault_.ok()) message.binding.window->rkey = message.binding.rkey;
    return;
  }
  if (message.push.empty()) return PostChain(&send);

  ibv_sge write_sge = Sge(message.push.data(), message.push.size(), message.push_lkey);
  ibv_send_wr write{};
  write.wr_id = send.wr_id;
  write.opcode = IBV_WR_RDMA_WRITE;
  write.send_flags = options_.signal_writes ? IBV_SEND_SIGNALED : 0;
  write.sg_list = &write_sge;
  write.num_sge = 1;
  write.wr.rdma.remote_addr = message.remote_address;
  write.wr.rdma.rkey = message.rkey;
  write.next = &send;
  PostChain(&write);
}

// The message in up to three pieces. What goes inline is copied by ibv_post_send(3) itself.
int SendQueue::Gather(Message& message, ibv_sge* sges) {
  int count = 0;
  if (Inlined(message)) {
    sges[count++] = Sge(&message.header, sizeof message.header, 0);
    if (!message.body.empty()) sges[count++] = Sge(message.body.data(), message.body.size(), 0);
  } else {
    const SendRing::Space space = ring_.Take(HeadSize(message));
    std::memcpy(space.data, &message.header, sizeof message.header);
    if (!message.body.empty()) {
      std::memcpy(space.data + sizeof message.header, message.body.data(), message.body.size());
    }
    sges[count++] = Sge(space.data, HeadSize(message), space.lkey);
  }
  if (!message.inline_payload.empty()) {
    sges[count++] =
        Sge(message.inline_payload.data(), message.inline_payload.size(), message.inline_lkey);
  }
  return count;
}

// What cannot be posted stays in posted_: part of the chain may be on its way, and holds memory.
void SendQueue::PostChain(ibv_send_wr* first) {
  ibv_send_wr* bad = nullptr;
  const int error = ibv_post_send(options_.qp, first, &bad);
  if (error != 0 && fault_.ok()) fault_ = Errno(error > 0 ? error : EIO);
}

void SendQueue::Nudge() {
  if (!fault_.ok() || posted_.full() || used_wr_ == options_.max_wr) return;
  ibv_send_wr wr{};
  wr.wr_id = posted_.next_number();
  wr.opcode = IBV_WR_RDMA_WRITE;
  ++used_wr_;
  // Ended by the next SEND with a signal.
  posted_.Push({.ring_block = ring_.current(), .wr_count = 1});
  PostChain(&wr);
}

Errno SendQueue::Fetch(Read& read) {
  if (!fault_.ok()) return Errno(ENOTCONN);
  if (reads_.full()) return Errno(ENOBUFS);
  reads_.Push(std::move(read));
  IssueReads();
  return kOk;
}

// A QP stalls behind a READ beyond its initiator depth, replies and all; so such READs wait here.
void SendQueue::IssueReads() {
  while (next_read_ < reads_.next_number() &&
         next_read_ - reads_.first_number() < options_.max_reads && used_wr_ < options_.max_wr &&
         !posted_.full() && fault_.ok()) {
    const Read& read = reads_.at(next_read_++);
    ibv_sge sge = Sge(read.destination.data(), read.destination.size(), read.lkey);
    ibv_send_wr wr{};
    wr.wr_id = posted_.next_number();
    wr.opcode = IBV_WR_RDMA_READ;
    wr.sg_list = &sge;
    wr.num_sge = 1;
    wr.send_flags = IBV_SEND_SIGNALED;
    wr.wr.rdma.remote_addr = read.remote_address;
    wr.wr.rdma.rkey = read.rkey;
    ++used_wr_;
    unsignalled_ = 0;
    posted_.Push({.ring_block = ring_.current(), .wr_count = 1, .is_read = true});
    PostChain(&wr);
  }
}

void SendQueue::AddPermit() {
  if (permits_ != UINT32_MAX) ++permits_;
  if (!waiting_.empty()) SubmitWaiting();
}

void SendQueue::SubmitWaiting() {
  while (!waiting_.empty() && fault_.ok() && HasRoom(waiting_.front().message)) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    next.message.body = next.body;
    Submit(next.message);
  }
}

void SendQueue::Complete(uint64_t number) {
  if (number < posted_.first_number() || number >= posted_.next_number()) return;
  Posted& completed = posted_.at(number);
  const bool is_read = completed.is_read;
  completed.done = true;
  EndSendsUpTo(number);
  while (!posted_.empty() && posted_.front().done) used_wr_ -= posted_.Pop().wr_count;
  if (posted_.empty()) {
    ring_.ReleaseAll();
  } else {
    ring_.ReleaseBefore(posted_.front().ring_block);
  }
  if (is_read) FinishRead();
  SubmitWaiting();
  IssueReads();
}

void SendQueue::EndSendsUpTo(uint64_t number) {
  for (; first_open_ <= number; ++first_open_) {
    Posted& posted = posted_.at(first_open_);
    if (posted.is_read) continue;
    posted.done = true;
    posted.hold = Buffer();
  }
}

// READs complete in the order in which they were issued.
void SendQueue::FinishRead() {
  Read read = reads_.Pop();
  IssueReads();
  read.hold = Buffer();
  read.reply.Complete(Connection::Pulled{{}, read.destination});  // may post and fetch
}

void SendQueue::Abandon() {
  fault_ = Errno(ENOTCONN);
  waiting_.clear();
  while (!posted_.empty()) posted_.Pop();
  std::vector<Reply<Connection::Pulled>> unanswered;
  while (!reads_.empty()) unanswered.push_back(std::move(reads_.Pop().reply));
  for (auto& reply : unanswered) reply.Complete(Errno(ENOTCONN));
}

const char* SendQueue::Describe(uint64_t number) {
  if (number < posted_.first_number() || number >= posted_.next_number()) return "SEND";
  const Posted& posted = posted_.at(number);
  if (posted.is_read) return "RDMA_READ";
  if (posted.binds) return "BIND_MW and SEND";
  return posted.wr_count == 2 ? "RDMA_WRITE and SEND" : "SEND";
}

}  // namespace rdmafs::rdma
