#include "transport/rdma/rdma_connection.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/base/counter.h"
#include "transport/base/log.h"
#include "transport/base/socket_address.h"
#include "transport/rdma/work_completion.h"

namespace rdmafs::rdma {
namespace {

constexpr size_t kPollBatch = 16;
// Batches for one connection before the loop's others have their turn.
constexpr int kBatchesPerPoll = 4;
// How long to wait for rdma_cm's word of why work requests were flushed.
constexpr Nanoseconds kFlushedGrace = kSecond;
// How long to wait for the peer's answer to our disconnect, which is sent again if it gets lost.
constexpr Nanoseconds kDisconnectGrace = 500 * kMillisecond;
// When a server that has not answered at all is nudged, for the first and for the last time.
constexpr Nanoseconds kFirstNudge = 20 * kMillisecond, kLastNudge = 3 * kSecond;

}  // namespace

RdmaConnection::RdmaConnection(Parts parts)
    : server_(parts.server),
      domains_(std::move(parts.domains)),
      channel_(std::move(parts.channel)),
      id_(std::move(parts.id)),
      queue_pair_(std::move(parts.queue_pair)),
      peer_(SocketAddress(rdma_get_peer_addr(id_.get())).ToString()),
      device_(ibv_get_device_name(id_->verbs->device)),
      exposure_(std::move(parts.exposure)),
      invalidates_(parts.invalidates),
      invalidated_flag_(parts.invalidated_flag) {
  credits_ = parts.credits;
  slots_.resize(wire::kMaxCredits);
}

RdmaConnection::~RdmaConnection() {
  if (loop_ != nullptr && state_ != State::kClosed) {
    LeaveLoop();  // the loop ended before the connection did
    queue_pair_->Destroy();
    queue_pair_->sends().Abandon();
  }
}

void RdmaConnection::Start(EventLoop& loop, ConnectionHandler& handler) {
  CHECK(loop_ == nullptr);
  loop_ = &loop;
  handler_ = &handler;
  const Errno cq = loop.Add(queue_pair_->cq().fd(), EPOLLIN, [this](uint32_t) {
    queue_pair_->cq().TakeEvent();
    Poll();
  });
  const Errno cm = loop.Add(channel_->fd, EPOLLIN, [this](uint32_t) { OnCmEvents(); });
  loop.AddPoller(this);
  removal_.emplace(domains_->devices().watch(), id_->verbs->cmd_fd, loop,
                   [this] { OnDeviceGone(); });
  if (!cq.ok() || !cm.ok())
    reason_ = absl::InternalError("the event loop takes no more descriptors");
  if (!reason_.ok()) return Close(reason_);
  if (!server_ && queue_pair_->domain().iwarp()) NudgeAfter(kFirstNudge);
}

// Soft-iWARP takes over its socket after it has told the client that it is connected: what the
// client sends in between stays there, without a notice, until more arrives. A server says nothing
// before that.
void RdmaConnection::NudgeAfter(Nanoseconds delay) {
  nudge_timer_ = 0;
  if (delay > kLastNudge) return;
  nudge_timer_ = loop_->After(delay, [this, delay] {
    if (state_ != State::kOpen) return;
    queue_pair_->sends().Nudge();
    NudgeAfter(2 * delay);
    (void)CheckPosted();
  });
}

Errno RdmaConnection::Post(Outgoing message) {
  CHECK(message.body.size() <= wire::kMaxBodyBytes);
  CHECK(message.inline_payload.size() <= wire::kMaxInlineBytes);
  CHECK(message.push_file.size == 0);
  if (state_ != State::kOpen || !reason_.ok()) return Errno(ENOTCONN);
  MemoryRegionCache& cache = queue_pair_->domain().cache();
  SendQueue::Message send{
      .header = message.header, .body = message.body, .inline_payload = message.inline_payload};
  send.header.inline_size = static_cast<uint32_t>(message.inline_payload.size());
  send.header.size = static_cast<uint32_t>(sizeof send.header + message.body.size() +
                                           message.inline_payload.size());
  if (!message.inline_payload.empty()) {
    auto keys = cache.Lookup(message.inline_payload, MemoryAccess::kLocal);
    if (!keys.ok()) return keys.error();
    send.inline_lkey = keys->lkey;
  }
  const Errno prepared = server_ ? PrepareReply(message, send) : PrepareCall(message, send);
  if (!prepared.ok()) return prepared;
  if (state_ != State::kOpen) return kOk;  // PrepareReply() found reason to close

  const uint64_t bytes = send.header.size + message.push.size();
  const uint16_t slot = send.header.slot;
  const bool exposes = !message.exposed.empty();
  const WindowBinding binding = send.binding;
  if (exposes && !message.inline_payload.empty()) send.hold = message.hold;
  if (!exposes) send.hold = std::move(message.hold);
  const Errno posted = queue_pair_->sends().Post(std::move(send));
  if (!posted.ok()) return posted;
  if (!server_) {
    slots_[slot].in_flight = true;
    slots_[slot].exposed_size = static_cast<uint32_t>(message.exposed.size());
    slots_[slot].hold = std::move(message.hold);
    if (binding.window != nullptr) slots_[slot].rkey = binding.rkey;
    ++calls_in_flight_;
  } else if (HasSlot(slot)) {
    slots_[slot].rkey.reset();
  }
  AddAsOnlyWriter(counters_.messages_sent);
  AddAsOnlyWriter(counters_.bytes_sent, bytes);
  return CheckPosted();
}

// Client: fills in where the exposed memory is.
Errno RdmaConnection::PrepareCall(const Outgoing& message, SendQueue::Message& send) {
  CHECK(HasSlot(message.header.slot) && !slots_[message.header.slot].in_flight);
  CHECK(message.push.empty());
  send.header.remote_size = static_cast<uint32_t>(message.exposed.size());
  if (message.exposed.empty()) return kOk;
  CHECK(message.exposed.size() <= wire::kMaxPayloadBytes);
  const bool sink = (message.header.flags & wire::kFlagSink) != 0;
  CHECK(sink != ((message.header.flags & wire::kFlagSource) != 0));
  send.header.remote_address = reinterpret_cast<uintptr_t>(message.exposed.data());
  const MemoryAccess access = sink ? MemoryAccess::kRemoteWrite : MemoryAccess::kRemoteRead;
  if (!message.foreign.empty()) {
    auto pin = queue_pair_->domain().cache().LookupForeign(message.foreign, access);
    if (!pin.ok()) return pin.error();
    slots_[message.header.slot].pin = *std::move(pin);
    Expose(message, slots_[message.header.slot].pin.keys, access, send);
    return kOk;
  }
  auto keys = queue_pair_->domain().cache().Lookup(message.exposed, access);
  if (!keys.ok()) return keys.error();
  Expose(message, *keys, access, send);
  return kOk;
}

// By a window of the slot's own, or by the registration.
void RdmaConnection::Expose(const Outgoing& message, const MemoryKeys& keys, MemoryAccess access,
                            SendQueue::Message& send) {
  const MemoryWindows* windows = queue_pair_->windows();
  send.header.rkey = keys.rkey;
  if (windows == nullptr) return;
  const size_t index = std::min(message.header.slot, credits_);  // the set-up slot has the last one
  send.binding = windows->Bind(index, message.exposed, keys, access);
  send.header.rkey = send.binding.rkey;
}

// Server: fills in what goes into the memory that the call exposed.
Errno RdmaConnection::PrepareReply(const Outgoing& message, SendQueue::Message& send) {
  CHECK(message.exposed.empty());
  send.header.remote_size = static_cast<uint32_t>(message.push.size());
  // What came with the call counts here, too, whatever the reply says.
  if (HasSlot(message.header.slot)) send.invalidate = slots_[message.header.slot].rkey;
  if (message.push.empty()) return kOk;
  CHECK(message.request_header != nullptr &&
        (message.request_header->flags & wire::kFlagSink) != 0);
  CHECK(message.push.size() <= message.request_header->remote_size);
  // The rkey would let us write all over the slab: what we received counts, not what we believe by
  // now.
  if (!HasSlot(message.header.slot) ||
      message.push.size() > slots_[message.header.slot].exposed_size) {
    Close(absl::InternalError(absl::StrCat(peer_, ": a reply larger than its sink")));
    return kOk;
  }
  auto keys = queue_pair_->domain().cache().Lookup(message.push, MemoryAccess::kLocal);
  if (!keys.ok()) return keys.error();
  send.push = message.push;
  send.push_lkey = keys->lkey;
  send.remote_address = message.request_header->remote_address;
  send.rkey = message.request_header->rkey;
  return kOk;
}

void RdmaConnection::Pull(const ReceivedMessage& request, absl::Span<std::byte> destination,
                          Buffer hold, Reply<Pulled> reply) {
  const wire::MessageHeader& header = request.header();
  CHECK(server_ && (header.flags & wire::kFlagSource) != 0 &&
        destination.size() == header.remote_size);
  if (state_ != State::kOpen) return reply.Complete(Errno(ENOTCONN));
  ProtectionDomain& domain = queue_pair_->domain();
  auto keys = domain.cache().Lookup(destination, domain.read_sink_access());
  if (!keys.ok()) return reply.Complete(keys.error());
  SendQueue::Read read{.destination = destination,
                       .lkey = keys->lkey,
                       .remote_address = header.remote_address,
                       .rkey = header.rkey,
                       .hold = std::move(hold),
                       .reply = std::move(reply)};
  const Errno fetched = queue_pair_->sends().Fetch(read);
  if (!fetched.ok()) return read.reply.Complete(fetched);
  AddAsOnlyWriter(counters_.bytes_received, destination.size());
  (void)CheckPosted();
}

// After a failed ibv_post_send(3) part of a chain may be under way: only the connection's end is
// safe.
Errno RdmaConnection::CheckPosted() {
  const Errno fault = queue_pair_->sends().fault();
  if (fault.ok() || state_ != State::kOpen) return kOk;
  Close(absl::UnavailableError(absl::StrCat(peer_, ": ibv_post_send: ", fault.ToString())));
  return kOk;
}

bool RdmaConnection::Poll() {
  if (state_ == State::kClosed) return false;
  std::array<ibv_wc, kPollBatch> batch;
  bool any = false;
  for (int i = 0; i < kBatchesPerPoll; ++i) {
    const int count = queue_pair_->cq().Poll(absl::MakeSpan(batch));
    if (count < 0)
      Close(absl::UnavailableError(absl::StrCat(peer_, ": the completion queue failed")));
    if (count <= 0) break;
    any = true;
    for (int k = 0; k < count; ++k) OnCompletion(batch[k]);
    if (count < static_cast<int>(kPollBatch)) break;
  }
  return any;
}

bool RdmaConnection::Busy() const {
  return state_ == State::kOpen && (calls_in_flight_ != 0 || !queue_pair_->sends().empty());
}

bool RdmaConnection::Arm() { return state_ != State::kClosed && queue_pair_->cq().Arm() && Poll(); }

void RdmaConnection::OnCompletion(const ibv_wc& completion) {
  if (completion.status != IBV_WC_SUCCESS) {
    OnFailedCompletion(completion);
  } else if ((completion.wr_id & kReceiveBit) != 0) {
    OnReceive(completion);
  } else if (completion.opcode != IBV_WC_RDMA_WRITE) {  // that one's SEND is still to come
    queue_pair_->sends().Complete(completion.wr_id);
    (void)CheckPosted();
  }
}

void RdmaConnection::OnReceive(const ibv_wc& completion) {
  if (state_ != State::kOpen) return;
  const uint64_t index = completion.wr_id & ~kReceiveBit;
  const size_t size_bytes = completion.byte_len;
  const absl::Span<const std::byte> bytes = queue_pair_->Received(index, size_bytes);
  wire::MessageHeader header{};
  if (bytes.size() >= sizeof header) std::memcpy(&header, bytes.data(), sizeof header);
  if (const char* fault = FindFault(header, completion); fault != nullptr) {
    Log(LogLevel::kWarning, "rdma: ", peer_, ": bad message: ", fault);
    return Close(absl::InvalidArgumentError(absl::StrCat(peer_, ": bad message: ", fault)));
  }
  AddAsOnlyWriter(counters_.messages_received);
  AddAsOnlyWriter(counters_.bytes_received, size_bytes + (server_ ? 0 : header.remote_size));
  Buffer hold;  // until the reply has been delivered
  Slot& slot = slots_[header.slot];
  if (server_) {
    slot.exposed_size = (header.flags & wire::kFlagSink) != 0 ? header.remote_size : 0;
    slot.rkey.reset();
    if (invalidates_ && header.remote_size != 0) slot.rkey = header.rkey;
  } else {
    if (nudge_timer_ != 0) loop_->Cancel(std::exchange(nudge_timer_, 0));
    hold = std::move(slot.hold);
    slot.rkey.reset();
    slot.pin = {};  // whoever hears of the reply may have the registration undone
    slot.in_flight = false;
    --calls_in_flight_;
  }
  handler_->OnMessage(*this,
                      ReceivedMessage(header, bytes.subspan(sizeof header), &Release, this, index));
}

const char* RdmaConnection::FindFault(const wire::MessageHeader& header,
                                      const ibv_wc& completion) const {
  const size_t size_bytes = completion.byte_len;
  if (size_bytes < sizeof header) return "shorter than a header";
  const char* fault = wire::FindHeaderFault(header, !server_);
  if (fault != nullptr) return fault;
  if (header.size != size_bytes) return "not of the size it says";
  if (!HasSlot(header.slot)) return "slot number";
  if (server_) return nullptr;
  if (!slots_[header.slot].in_flight) return "a reply to no call";
  if (header.remote_size > slots_[header.slot].exposed_size)
    return "more payload than there is room";
  return FindWindowFault(slots_[header.slot], completion);
}

// A reply ends the reach into its own call's memory, and into no other's: only then does the memory
// go back.
const char* RdmaConnection::FindWindowFault(const Slot& slot, const ibv_wc& completion) const {
  if (queue_pair_->windows() == nullptr) return nullptr;
  const bool invalidated = (completion.wc_flags & invalidated_flag_) != 0;
  if (!slot.rkey)
    return invalidated ? "a reply that invalidates another call's memory window" : nullptr;
  if (!invalidated) return "a reply that does not invalidate its call's memory window";
  return completion.invalidated_rkey == *slot.rkey
             ? nullptr
             : "a reply that invalidates another call's memory window";
}

void RdmaConnection::Release(void* connection, uint64_t index) {
  auto* self = static_cast<RdmaConnection*>(connection);
  if (self->state_ != State::kOpen) return;
  const Errno error = self->queue_pair_->PostReceive(index);
  if (!error.ok()) {
    return self->Close(
        absl::UnavailableError(absl::StrCat(self->peer_, ": ibv_post_recv: ", error.ToString())));
  }
  self->queue_pair_->sends().AddPermit();
  (void)self->CheckPosted();
}

void RdmaConnection::OnFailedCompletion(const ibv_wc& completion) {
  if (state_ != State::kOpen) return;
  const bool receive = (completion.wr_id & kReceiveBit) != 0;
  const char* opcode = receive ? "RECV" : queue_pair_->sends().Describe(completion.wr_id);
  absl::Status reason = ReasonOf(completion, opcode, peer_);
  // Flushed: a consequence. Its cause comes from rdma_cm or with another completion. Soft-iWARP
  // says LOC_QP_OP_ERR of what was being sent when the peer closed.
  const bool consequence =
      completion.status == IBV_WC_WR_FLUSH_ERR ||
      (completion.status == IBV_WC_LOC_QP_OP_ERR && !receive && queue_pair_->domain().iwarp());
  if (!consequence) {
    Log(LogLevel::kWarning, "rdma: ", reason.message());
    return Close(std::move(reason));
  }
  if (flushed_timer_ != 0) return;
  Log(LogLevel::kDebug, "rdma: ", reason.message());
  flushed_timer_ = loop_->After(kFlushedGrace, [this, lost = std::move(reason)] { Close(lost); });
}

void RdmaConnection::OnCmEvents() {
  while (auto event = NextCmEvent(*channel_)) {
    if (event->type == RDMA_CM_EVENT_ESTABLISHED) continue;
    disconnected_ = event->type == RDMA_CM_EVENT_DISCONNECTED ||
                    event->type == RDMA_CM_EVENT_DEVICE_REMOVAL ||
                    event->type == RDMA_CM_EVENT_TIMEWAIT_EXIT || disconnected_;
    if (event->type == RDMA_CM_EVENT_DEVICE_REMOVAL) domains_->Forget(id_->verbs);
    if (state_ == State::kOpen) {
      Poll();  // what arrived before the end is delivered before the end
      Close(ReasonOf(*event, peer_));
    } else if (state_ == State::kClosing && disconnected_) {
      loop_->Cancel(finish_timer_);
      finish_timer_ = loop_->After(0, [this] { Finish(); });
    }
  }
}

// rdma_cm will say so, too, but of some devices not before everyone has let go of them.
void RdmaConnection::OnDeviceGone() {
  if (state_ != State::kOpen) return;
  Poll();
  Close(absl::UnavailableError(absl::StrCat(peer_, ": the RDMA device was removed")));
}

void RdmaConnection::Close(absl::Status reason) {
  if (state_ != State::kOpen) return;
  reason_ = std::move(reason);
  if (loop_ == nullptr) return;  // Start() comes back to it
  state_ = State::kClosing;
  if (rdma_disconnect(id_.get()) != 0) queue_pair_->Halt();
  finish_timer_ = loop_->After(disconnected_ ? 0 : kDisconnectGrace, [this] { Finish(); });
}

void RdmaConnection::Finish() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  LeaveLoop();
  queue_pair_->Destroy();
  for (Slot& slot : slots_) slot = {};
  queue_pair_->sends().Abandon();
  handler_->OnClosed(*this, reason_);  // may destroy this
}

void RdmaConnection::LeaveLoop() {
  removal_.reset();
  loop_->RemovePoller(this);
  loop_->Remove(queue_pair_->cq().fd());
  loop_->Remove(channel_->fd);
  loop_->Cancel(flushed_timer_);
  loop_->Cancel(finish_timer_);
  loop_->Cancel(nudge_timer_);
}

}  // namespace rdmafs::rdma
