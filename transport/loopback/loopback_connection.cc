#include "transport/loopback/loopback_connection.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"

namespace rdmafs {
namespace {

using Outcome = LoopbackLink::Outcome;

absl::Status PeerClosed() { return absl::UnavailableError("the peer closed the connection"); }

}  // namespace

LoopbackConnection::LoopbackConnection(std::shared_ptr<LoopbackLink> link, LoopbackLink::Side side,
                                       std::string peer, uint16_t credits,
                                       std::shared_ptr<const LoopbackMemory> memory,
                                       MemoryExposure exposure)
    : link_(std::move(link)),
      side_(side),
      peer_(std::move(peer)),
      memory_(std::move(memory)),
      windows_(exposure == MemoryExposure::kWindow) {
  credits_ = credits;
}

LoopbackConnection::~LoopbackConnection() {
  CHECK(loop_ == nullptr || finished_);
  link_->Detach(side_, PeerClosed());
}

void LoopbackConnection::Start(EventLoop& loop, ConnectionHandler& handler) {
  CHECK(loop_ == nullptr);
  loop_ = &loop;
  handler_ = &handler;
  if (!closing_) link_->Attach(side_, loop, *this);
  Schedule();
}

void LoopbackConnection::Schedule() {
  if (loop_ == nullptr || std::exchange(scheduled_, true)) return;
  loop_->Defer([this] { EndOfRound(); });
}

void LoopbackConnection::EndOfRound() {
  scheduled_ = false;
  if (!closing_) CarryOut();
  if (!closing_) Receive();
  // Not while a task that knows `this` is still to run: the owner may destroy us.
  if (closing_ && !scheduled_) Finish();
}

// --- Sending ---

Errno LoopbackConnection::Post(Outgoing message) {
  DCHECK(loop_ == nullptr || loop_->InLoopThread());
  CHECK(message.body.size() <= wire::kMaxBodyBytes);
  CHECK(message.inline_payload.size() <= wire::kMaxInlineBytes);
  CHECK(message.push_file.size == 0);
  if (closing_) return Errno(ENOTCONN);
  if (!memory_->Contains(message.inline_payload) || !memory_->Contains(message.push))
    return Errno(EFAULT);
  if (message.foreign.empty() && !memory_->Contains(message.exposed)) return Errno(EFAULT);
  wire::MessageHeader& header = message.header;
  header.inline_size = static_cast<uint32_t>(message.inline_payload.size());
  header.size = static_cast<uint32_t>(sizeof header + message.body.size()) + header.inline_size;
  WorkRequest request;
  if (side_ == LoopbackLink::kClient) {
    if (!PrepareCall(message)) return Errno(ENOTCONN);
  } else {
    PrepareReply(message, request);
  }
  DCHECK(wire::FindHeaderFault(header, side_ == LoopbackLink::kServer) == nullptr);
  request.header = header;
  request.body.assign(message.body.begin(), message.body.end());
  request.inline_payload = message.inline_payload;
  request.push = message.push;
  request.hold = std::move(message.hold);
  queue_.push_back(std::move(request));
  counters_.messages_sent.fetch_add(1, std::memory_order_relaxed);
  Schedule();
  return kOk;
}

LoopbackConnection::Call& LoopbackConnection::CallOf(uint16_t slot) {
  if (calls_.size() <= slot) calls_.resize(slot + size_t{1});
  return calls_[slot];
}

void LoopbackConnection::PrepareReply(Outgoing& message, WorkRequest& request) {
  CHECK(message.push.empty() || message.request_header != nullptr);
  wire::MessageHeader& header = message.header;
  header.remote_address = header.rkey = 0;
  header.remote_size = static_cast<uint32_t>(message.push.size());
  if (message.request_header != nullptr) {
    request.remote_address = message.request_header->remote_address;
    request.rkey = message.request_header->rkey;
  }
  // What came with the call counts, not what the reply believes.
  if (windows_) request.invalidate = std::exchange(CallOf(header.slot).rkey, 0);
}

bool LoopbackConnection::PrepareCall(Outgoing& message) {
  wire::MessageHeader& header = message.header;
  CHECK(header.slot < wire::kMaxCredits);
  Call& call = CallOf(header.slot);
  if (call.in_flight) {
    const absl::Status reason = absl::InvalidArgumentError(
        absl::StrCat("slot ", header.slot, " was used before its reply"));
    Fail(reason, PeerClosed());
    return false;
  }
  call.in_flight = true;
  call.sequence = header.sequence;
  header.remote_address = header.rkey = header.remote_size = 0;
  if ((header.flags & (wire::kFlagSource | wire::kFlagSink)) == 0) return true;
  const auto exposed = link_->Expose(message.exposed, (header.flags & wire::kFlagSink) != 0);
  header.remote_address = exposed.address;
  header.rkey = call.rkey = exposed.rkey;
  header.remote_size = static_cast<uint32_t>(message.exposed.size());
  call.hold = message.hold;
  return true;
}

void LoopbackConnection::Pull(const ReceivedMessage& request, absl::Span<std::byte> destination,
                              Buffer hold, Reply<Pulled> reply) {
  if (closing_) return reply.Complete(Errno(ENOTCONN));
  DCHECK(loop_->InLoopThread());
  const wire::MessageHeader& header = request.header();
  CHECK(destination.size() == header.remote_size);
  pulls_.push_back(
      {header.remote_address, header.rkey, destination, std::move(hold), std::move(reply)});
  Schedule();
}

void LoopbackConnection::CarryOut() {
  std::vector<PullRequest> pulls = std::exchange(pulls_, {});
  for (size_t i = 0; i < pulls.size(); ++i) {
    if (closing_) {  // Finish() completes the rest
      pulls_.push_back(std::move(pulls[i]));
    } else {
      Read(pulls[i]);
    }
  }
  std::vector<WorkRequest> queue = std::exchange(queue_, {});
  for (WorkRequest& request : queue) {
    if (!closing_) Send(request);
  }
}

void LoopbackConnection::Read(PullRequest& request) {
  Outcome outcome = Outcome::kRefused;
  if (memory_->Contains(request.destination)) {
    outcome = link_->Read(request.remote_address, request.rkey, request.destination);
  }
  if (outcome == Outcome::kDone) {
    counters_.bytes_received.fetch_add(request.destination.size(), std::memory_order_relaxed);
    return request.reply.Complete(Pulled{{}, request.destination});
  }
  pulls_.push_back(std::move(request));
  if (outcome == Outcome::kRefused) {
    Fail(absl::InvalidArgumentError("RDMA_READ outside of what the call exposed"),
         absl::InvalidArgumentError("the peer read outside of what the call exposed"));
  }
}

// When the other side is gone, Receive() says so once it has delivered what that side left.
void LoopbackConnection::Send(WorkRequest& request) {
  if (!request.push.empty()) {
    const Outcome outcome = link_->Write(request.remote_address, request.rkey, request.push);
    if (outcome == Outcome::kRefused) {
      Fail(absl::InvalidArgumentError("RDMA_WRITE outside of what the call exposed"),
           absl::InvalidArgumentError("the peer wrote outside of what the call exposed"));
    }
    if (outcome != Outcome::kDone) return;
  }
  LoopbackLink::Received message{request.header, std::move(request.body), request.invalidate};
  message.tail.insert(message.tail.end(), request.inline_payload.begin(),
                      request.inline_payload.end());
  const Outcome outcome = link_->Send(LoopbackLink::Other(side_), std::move(message));
  if (outcome == Outcome::kRefused) {
    Fail(absl::InvalidArgumentError("the peer has no receive posted (RNR)"),
         absl::InvalidArgumentError("a message found no receive posted (RNR)"));
  } else if (outcome == Outcome::kNoSuchRkey) {
    Fail(absl::InvalidArgumentError("SEND with invalidate of what no call exposes"),
         absl::InvalidArgumentError("the peer invalidated what no call exposes"));
  }
  if (outcome != Outcome::kDone) return;
  counters_.bytes_sent.fetch_add(request.header.size + request.push.size(),
                                 std::memory_order_relaxed);
}

// --- Receiving ---

void LoopbackConnection::Receive() {
  absl::Status end;
  for (auto& received : link_->TakeArrived(side_, end)) {
    if (closing_) return;
    const wire::MessageHeader header = received->header;
    if (const char* fault = wire::FindHeaderFault(header, side_ == LoopbackLink::kClient)) {
      const auto reason =
          absl::InvalidArgumentError(absl::StrCat("the peer broke the protocol: ", fault));
      return Fail(reason, PeerClosed());
    }
    Buffer hold;
    if (side_ == LoopbackLink::kServer) {
      CallOf(header.slot).rkey = header.rkey;
    } else if (!AcceptReply(*received, hold)) {
      return;
    }
    counters_.messages_received.fetch_add(1, std::memory_order_relaxed);
    counters_.bytes_received.fetch_add(header.size, std::memory_order_relaxed);
    LoopbackLink::Received* token = received.release();
    handler_->OnMessage(*this, ReceivedMessage(header, token->tail, &LoopbackConnection::Release,
                                               this, reinterpret_cast<uint64_t>(token)));
  }
  if (!end.ok()) Fail(end, end);
}

// The rkey is of no use any more before the owner hears of the reply.
bool LoopbackConnection::AcceptReply(const LoopbackLink::Received& reply, Buffer& hold) {
  const wire::MessageHeader& header = reply.header;
  if (header.slot >= calls_.size() || !calls_[header.slot].in_flight ||
      calls_[header.slot].sequence != header.sequence) {
    Fail(absl::InvalidArgumentError("the peer broke the protocol: reply without a call"),
         PeerClosed());
    return false;
  }
  Call& call = calls_[header.slot];
  if (reply.invalidated != (windows_ ? call.rkey : 0)) {
    Fail(absl::InvalidArgumentError(
             "the peer broke the protocol: a reply that does not invalidate what "
             "its call exposed"),
         PeerClosed());
    return false;
  }
  if (call.rkey != 0 && !windows_) link_->Withdraw(call.rkey);
  hold = std::move(call.hold);
  call = Call();
  return true;
}

void LoopbackConnection::Release(void* owner, uint64_t token) {
  auto* connection = static_cast<LoopbackConnection*>(owner);
  delete reinterpret_cast<LoopbackLink::Received*>(token);
  connection->link_->ReturnReceive(connection->side_);
}

// --- The end ---

void LoopbackConnection::Close(absl::Status reason) {
  if (closing_) return;
  if (reason.ok()) reason = absl::CancelledError("closed");
  Fail(std::move(reason), PeerClosed());
  if (loop_ == nullptr) link_->Detach(side_, others_reason_);
}

void LoopbackConnection::Fail(absl::Status reason, absl::Status others_reason) {
  if (std::exchange(closing_, true)) return;
  reason_ = std::move(reason);
  others_reason_ = std::move(others_reason);
  Schedule();
}

// As a QP that goes to ERROR: no access any more, then everything is flushed, then the owner hears
// of it.
void LoopbackConnection::Finish() {
  if (std::exchange(finished_, true)) return;
  link_->Detach(side_, others_reason_);
  queue_.clear();
  calls_.clear();
  std::vector<PullRequest> pulls = std::exchange(pulls_, {});
  for (PullRequest& pull : pulls) pull.reply.Complete(Errno(ENOTCONN));
  pulls.clear();
  handler_->OnClosed(*this, reason_);
}

// --- LoopbackMemory ---

LoopbackMemory::LoopbackMemory(Arena& arena) : arena_(arena) {
  observer_ = arena_.AddObserver([this](Arena::Slab slab) {
    absl::MutexLock lock(&mutex_);
    slabs_.push_back(slab);
  });
}

LoopbackMemory::~LoopbackMemory() { arena_.RemoveObserver(observer_); }

bool LoopbackMemory::Contains(absl::Span<const std::byte> memory) const {
  if (memory.empty()) return true;
  absl::MutexLock lock(&mutex_);
  return std::any_of(slabs_.begin(), slabs_.end(), [memory](Arena::Slab slab) {
    return memory.data() >= slab.data() &&
           memory.data() + memory.size() <= slab.data() + slab.size();
  });
}

}  // namespace rdmafs
