#include "server/shard.h"

#include <pthread.h>

#include <utility>

#include "server/operation.h"
#include "transport/base/log.h"

namespace rdmafs::server {

Shard::Shard(const ServerContext& context, const Options& options)
    : context_(context),
      options_(options),
      loop_(context.clock, EventLoop::Options{.busy_poll = options.busy_poll}),
      messages_queue_(context.messages, loop_),
      blocks_queue_(context.blocks, loop_),
      statistics_(OperationCount()) {}

Shard::~Shard() {
  CHECK(!thread_.joinable());
  CHECK(calls_in_flight_.load() == 0);
}

void Shard::Start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "rdmafsd-shard");
    Prepare();
    loop_.Run();
    ring_.reset();
    ended_.Notify();
  });
}

void Shard::Prepare() {
  if (!options_.use_io_uring) return;
  std::string why;
  ring_ = IoRing::Create(loop_, why);
  if (ring_ == nullptr) Log(LogLevel::kDebug, "shard without io_uring: ", why);
}

void Shard::Stop() {
  loop_.Post([this] {
    stopping_ = true;
    for (auto& [number, channel] : channels_)
      channel->Close(absl::CancelledError("the server stops"));
    StopWhenIdle();
  });
}

bool Shard::WaitStopped(Nanoseconds patience) {
  if (!ended_.WaitForNotificationWithTimeout(absl::Nanoseconds(patience))) return false;
  thread_.join();
  return true;
}

void Shard::StopWhenIdle() {
  if (stopping_ && channels_.empty() && calls_in_flight_.load(std::memory_order_relaxed) == 0)
    loop_.Stop();
}

void Shard::Adopt(std::unique_ptr<Connection> connection) {
  loop_.Post([this, connection = std::move(connection)]() mutable {
    if (stopping_) return;
    const uint64_t number = next_channel_++;
    auto channel = std::make_unique<Channel>(*this, number, std::move(connection));
    connections_.Add(channel->connection());
    channels_.emplace(number, std::move(channel)).first->second->Start();
  });
}

void Shard::Close(uint64_t channel_number) {
  loop_.Post([this, channel_number] {
    auto found = channels_.find(channel_number);
    if (found != channels_.end())
      found->second->Close(absl::CancelledError("its client has come back"));
  });
}

void Shard::Bury(Channel& channel) {
  loop_.Defer([this, &channel] {
    connections_.Remove(channel.connection());
    channels_.erase(channel.number());
    StopWhenIdle();
  });
}

void Shard::Count(int change) {  // one writer: no locked instruction needed
  calls_in_flight_.store(
      calls_in_flight_.load(std::memory_order_relaxed) + static_cast<size_t>(change),
      std::memory_order_relaxed);
}

Call& Shard::TakeCall() {
  Count(+1);
  if (free_calls_ == nullptr) {
    calls_.push_back(std::make_unique<Call>(*this));
    return *calls_.back();
  }
  WorkItem* item = free_calls_;
  free_calls_ = std::exchange(item->next_item, nullptr);
  return *static_cast<Call*>(item);
}

void Shard::Recycle(Call& call) {
  call.Reset();
  call.next_item = free_calls_;
  free_calls_ = &call;
  Count(-1);
}

void Shard::Resume(Call& call) {
  WorkItem* last = resumed_.load(std::memory_order_relaxed);
  do {
    call.next_item = last;
  } while (!resumed_.compare_exchange_weak(last, &call, std::memory_order_release,
                                           std::memory_order_relaxed));
  if (last == nullptr) loop_.Post([this] { RunResumed(); });
}

void Shard::RunResumed() {
  WorkItem* item = resumed_.exchange(nullptr, std::memory_order_acquire);
  WorkItem* first = nullptr;
  while (item != nullptr) {  // in the order they came
    WorkItem* next = std::exchange(item->next_item, first);
    first = std::exchange(item, next);
  }
  while (first != nullptr) {
    Call& call = static_cast<Call&>(*first);
    first = std::exchange(first->next_item, nullptr);
    call.then_(call);
  }
}

void Shard::AddTo(ProgramStatus& status, ProgramStatus::Credits& credits) const {
  connections_.AddTo(status.transport, credits);
  credits.in_flight += calls_in_flight_.load(std::memory_order_relaxed);
  status.counters["calls.replayed"] += replays_.load(std::memory_order_relaxed);
  for (wire::Opcode opcode : wire::AllOpcodes()) {
    const Operation* operation = FindOperation(static_cast<uint16_t>(opcode));
    statistics_.AddTo(operation->index, status.operations[operation->name]);
  }
}

}  // namespace rdmafs::server
