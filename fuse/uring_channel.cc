#include "fuse/uring_channel.h"

#include <poll.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "transport/base/log.h"
#include "transport/wire/header.h"

namespace rdmafs::fuse {
namespace {

constexpr size_t kMostEntriesOfQueue = 16;
constexpr uint64_t kPollOfLoop = 0;  // user_data; an entry's is its number and one

int InitialiseRing(io_uring* ring, unsigned entries) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  const int error = io_uring_queue_init_params(entries, ring, &params);
  if (error == 0) io_uring_ring_dontfork(ring);  // a child has no use for it
  return error;
}

bool IsLockThatWaits(uint32_t opcode) { return opcode == FUSE_SETLKW; }

}  // namespace

UringChannel::UringChannel(UniqueFd fd, EventLoop& loop, BufferPool& pool, const Options& options)
    : loop_(loop),
      pool_(pool),
      options_(options),
      fd_(fd.get()),
      device_(std::move(fd), loop, pool) {
  CHECK(pool.options().headroom_bytes >= sizeof(UringRequestHeader) + sizeof(fuse_in_header) +
                                             sizeof(UringRequestHeader::operation));
}

UringChannel::~UringChannel() {
  Stop();
  if (!ring_exists_) return;
  loop_.SetSleeper(nullptr);
  // Before the blocks go: the kernel writes into them as long as the ring is there.
  io_uring_queue_exit(&ring_);
}

Errno UringChannel::Start(RequestSink& sink) {
  if (Errno error = device_.Start(sink); !error.ok()) return error;
  sink_ = &sink;
  waiting_locks_.resize(options_.queue_count);
  for (size_t queue = options_.shard; queue < options_.queue_count; queue += options_.shard_count) {
    for (size_t i = 0; i < options_.depth; ++i) {
      Entry entry;
      entry.block = pool_.Take();
      entry.queue = static_cast<uint16_t>(queue);
      if (entry.block) entries_.push_back(std::move(entry));
    }
  }
  const int error = InitialiseRing(&ring_, static_cast<unsigned>(entries_.size()) + 1);
  if (error != 0) return Errno(-error);
  ring_exists_ = true;
  for (size_t number = 0; number < entries_.size(); ++number) Command(number, kUringRegister);
  loop_.SetSleeper(this);
  return kOk;
}

void UringChannel::Stop() {
  device_.Stop();
  sink_ = nullptr;
}

bool UringChannel::Sleep(Nanoseconds most) {
  if (!poll_armed_) {
    io_uring_sqe* submission = NextSubmission();
    io_uring_prep_poll_add(submission, loop_.descriptor(), POLLIN);
    io_uring_sqe_set_data64(submission, kPollOfLoop);
    poll_armed_ = true;
  }
  if (most == 0) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    io_uring_cqe* first;
    __kernel_timespec time{most / kSecond, most % kSecond};
    // ETIME and EINTR: the loop looks at its timers, and sleeps again.
    (void)io_uring_submit_and_wait_timeout(&ring_, &first, 1, most < 0 ? nullptr : &time, nullptr);
  }
  return Reap();
}

// True when the loop's descriptors have events.
bool UringChannel::Reap() {
  bool ready = false;
  io_uring_cqe* completion;
  while (io_uring_peek_cqe(&ring_, &completion) == 0) {
    const uint64_t data = completion->user_data;
    const int result = completion->res;
    io_uring_cqe_seen(&ring_, completion);
    if (data == kPollOfLoop) {
      poll_armed_ = false;
      ready = true;
    } else {
      OnCompletion(data - 1, result);
    }
  }
  return ready;
}

void UringChannel::OnCompletion(size_t number, int result) {
  if (result == 0) return Deliver(number);
  // ENOTCONN, ECONNABORTED: the mount is gone, of which the device tells. Else the entry is lost,
  // and the kernel goes on with the others.
  if (result != -ENOTCONN && result != -ECONNABORTED && result != -ECANCELED && sink_ != nullptr) {
    Log(LogLevel::kError, "FUSE over io_uring, queue ", entries_[number].queue, ": ",
        Errno(-result).ToString());
  }
}

void UringChannel::Deliver(size_t number) {
  Entry& entry = entries_[number];
  UringRequestHeader& header = HeaderOf(entry);
  fuse_in_header in;
  std::memcpy(&in, header.in_out, sizeof in);
  entry.unique = in.unique;
  entry.commit_id = header.entry.commit_id;
  entry.tid = in.pid;
  entry.start = loop_.clock().Now();
  entry.with_request = true;
  // Put in front of the payload, the headers make the row of bytes that the device gives.
  const size_t payload = header.entry.payload_bytes;
  const size_t operation = in.len - sizeof in - payload;
  std::byte* const start = entry.block.data() - operation - sizeof in;
  std::optional<Request> request;
  if (in.len >= sizeof in + payload && operation <= sizeof header.operation &&
      payload <= entry.block.size()) {
    std::memcpy(start, &in, sizeof in);
    std::memcpy(start + sizeof in, header.operation, operation);
    request = ParseRequest({start, in.len});
  }
  Ticket ticket;
  ticket.unique = in.unique;
  ticket.entry = static_cast<uint16_t>(number + 1);
  if (!request || sink_ == nullptr) {
    if (!request) Log(LogLevel::kError, "a request of ", in.len, " bytes by io_uring is not whole");
    (void)Reply(ticket, Errno(EIO), {}, {});
    return;
  }
  request->ticket.entry = ticket.entry;
  request->ticket.start = entry.start;
  request->block = entry.block;
  if (TakesTooManyLocks(entry, in.opcode)) {
    (void)Reply(ticket, Errno(ENOLCK), {}, {});
    return;
  }
  sink_->OnRequest(*request);
}

// A lock that waits keeps its entry: if all did, the unlock that one of them waits for would never
// come.
bool UringChannel::TakesTooManyLocks(const Entry& given, uint32_t opcode) {
  if (!IsLockThatWaits(opcode)) return false;
  Entry& entry = entries_[static_cast<size_t>(&given - entries_.data())];
  if (waiting_locks_[entry.queue] >= options_.depth / 2) return true;
  ++waiting_locks_[entry.queue];
  entry.waits_for_lock = true;
  return false;
}

Errno UringChannel::Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
                          absl::Span<const std::byte> data) {
  if (ticket.entry == 0) return device_.Reply(ticket, error, head, data);
  const size_t number = ticket.entry - size_t{1};
  Entry& entry = entries_[number];
  if (!entry.with_request || entry.unique != ticket.unique) return Errno(ENOENT);
  if (head.size() + data.size() > entry.block.size()) return Errno(EINVAL);
  UringRequestHeader& header = HeaderOf(entry);
  fuse_out_header out{};
  out.len = static_cast<uint32_t>(sizeof out + head.size() + data.size());
  out.error = -error.value();
  out.unique = ticket.unique;
  std::memcpy(header.in_out, &out, sizeof out);
  std::byte* const place = entry.block.data() + head.size();
  if (!data.empty() && data.data() != place) {
    std::memmove(place, data.data(), data.size());
    copied_bytes_.store(copied_bytes() + data.size(), std::memory_order_relaxed);
  }
  if (!head.empty()) std::memcpy(entry.block.data(), head.data(), head.size());
  header.entry.payload_bytes = static_cast<uint32_t>(head.size() + data.size());
  entry.with_request = false;
  if (std::exchange(entry.waits_for_lock, false)) --waiting_locks_[entry.queue];
  Command(number, kUringCommitAndFetch);
  return kOk;
}

absl::Span<const std::byte> UringChannel::GiveUp(uint64_t unique, bool& answered) {
  for (size_t number = 0; number < entries_.size(); ++number) {
    Entry& entry = entries_[number];
    if (!entry.with_request || entry.unique != unique) continue;
    if (entry.block.IsShared()) return entry.block.payload();
    Ticket ticket;
    ticket.unique = unique;
    ticket.entry = static_cast<uint16_t>(number + 1);
    answered = Reply(ticket, Errno(EINTR), {}, {}).ok();
    return {};
  }
  return device_.GiveUp(unique, answered);
}

void UringChannel::ForEachThatMayLoseInterrupts(
    absl::FunctionRef<void(uint64_t unique, uint32_t tid, Nanoseconds since)> see) const {
  for (const Entry& entry : entries_) {
    if (entry.with_request) see(entry.unique, entry.tid, entry.start);
  }
}

// Goes to the kernel when the loop sleeps, at the latest.
void UringChannel::Command(size_t number, UringCommand command) {
  Entry& entry = entries_[number];
  io_uring_sqe* submission = NextSubmission();
  io_uring_prep_rw(IORING_OP_URING_CMD, submission, fd_, nullptr, 0, 0);
  submission->cmd_op = command;
  if (command == kUringRegister) {
    entry.parts[0] = {&HeaderOf(entry), sizeof(UringRequestHeader)};
    entry.parts[1] = {entry.block.data(), entry.block.size()};
    submission->addr = reinterpret_cast<uint64_t>(entry.parts);
    submission->len = 2;
  }
  const UringCommandArguments arguments{0, entry.commit_id, entry.queue, {}};
  // Of a 128-byte entry, whose second half its type does not show.
  std::memcpy(reinterpret_cast<std::byte*>(submission) + offsetof(io_uring_sqe, cmd), &arguments,
              sizeof arguments);
  io_uring_sqe_set_data64(submission, number + 1);
}

io_uring_sqe* UringChannel::NextSubmission() {
  io_uring_sqe* submission = io_uring_get_sqe(&ring_);
  if (submission == nullptr) {
    io_uring_submit(&ring_);
    submission = io_uring_get_sqe(&ring_);
  }
  CHECK(submission != nullptr);  // there is one for each entry and one more
  return submission;
}

// At the beginning of the headroom; the request is put together at its end.
UringRequestHeader& UringChannel::HeaderOf(Entry& entry) const {
  return *reinterpret_cast<UringRequestHeader*>(entry.block.data() - entry.block.headroom());
}

size_t UringChannel::QueueCount() {
  // "0-3", or "0,2-5": the last number counts.
  std::ifstream file("/sys/devices/system/cpu/possible");
  std::string text;
  std::getline(file, text);
  const std::vector<std::string> numbers = absl::StrSplit(text, absl::ByAnyChar(",-"));
  size_t last;
  return absl::SimpleAtoi(numbers.back(), &last) ? last + 1 : 0;
}

size_t UringChannel::Depth(size_t pool_bytes, size_t queue_count) {
  constexpr size_t kFewest = 4;
  const size_t block = wire::kMaxPayloadBytes + 2 * 4096;
  if (queue_count == 0) return 0;
  const size_t depth = std::min(kMostEntriesOfQueue, pool_bytes / 2 / block / queue_count);
  return depth < kFewest ? 0 : depth;
}

std::string UringChannel::FindObstacle() {
  io_uring ring{};
  const int error = InitialiseRing(&ring, 2);
  if (error != 0) return absl::StrCat("io_uring_setup: ", Errno(-error).ToString());
  io_uring_queue_exit(&ring);
  return "";
}

}  // namespace rdmafs::fuse
