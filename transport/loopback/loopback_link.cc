#include "transport/loopback/loopback_link.h"

#include <cstring>
#include <utility>

#include "transport/loopback/loopback_connection.h"

namespace rdmafs {

LoopbackLink::LoopbackLink(uint16_t credits, uint32_t seed) : random_(seed) {
  for (End& end : ends_) end.posted_receives = credits + size_t{2};
}

void LoopbackLink::Attach(Side side, EventLoop& loop, LoopbackConnection& connection) {
  absl::MutexLock lock(&mutex_);
  ends_[side].loop = &loop;
  ends_[side].connection = &connection;
  Wake(side);
}

void LoopbackLink::Detach(Side side, absl::Status others_reason) {
  absl::MutexLock lock(&mutex_);
  End& own = ends_[side];
  if (std::exchange(own.detached, true)) return;
  own.loop = nullptr;
  own.connection = nullptr;
  own.arrived.clear();
  if (side == kClient) regions_.clear();
  End& other = ends_[Other(side)];
  if (other.detached || !other.end.ok()) return;
  other.end = std::move(others_reason);
  Wake(Other(side));
}

LoopbackLink::Outcome LoopbackLink::Send(Side to, Received message) {
  absl::MutexLock lock(&mutex_);
  End& receiver = ends_[to];
  if (receiver.detached) return Outcome::kGone;
  if (receiver.posted_receives == 0) return Outcome::kRefused;
  if (message.invalidated != 0 && (to != kClient || regions_.erase(message.invalidated) == 0)) {
    return Outcome::kNoSuchRkey;
  }
  --receiver.posted_receives;
  receiver.arrived.push_back(std::make_unique<Received>(std::move(message)));
  Wake(to);
  return Outcome::kDone;
}

// Under the lock, so that the loop cannot go away meanwhile: its connection detaches first.
void LoopbackLink::Wake(Side side) {
  End& end = ends_[side];
  if (end.loop == nullptr || std::exchange(end.wake_pending, true)) return;
  end.loop->Post([link = shared_from_this(), side] { link->OnWake(side); });
}

void LoopbackLink::OnWake(Side side) {
  LoopbackConnection* connection = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    ends_[side].wake_pending = false;
    connection = ends_[side].connection;
  }
  // Detached and destroyed on this very thread only, so it stands.
  if (connection != nullptr) connection->OnWake();
}

std::vector<std::unique_ptr<LoopbackLink::Received>> LoopbackLink::TakeArrived(Side side,
                                                                               absl::Status& end) {
  absl::MutexLock lock(&mutex_);
  end = ends_[side].end;
  return std::exchange(ends_[side].arrived, {});
}

void LoopbackLink::ReturnReceive(Side side) {
  absl::MutexLock lock(&mutex_);
  ++ends_[side].posted_receives;
}

LoopbackLink::Exposed LoopbackLink::Expose(absl::Span<std::byte> memory, bool writable) {
  absl::MutexLock lock(&mutex_);
  uint32_t rkey = 0;
  do {
    rkey = static_cast<uint32_t>(random_());
  } while (rkey == 0 || regions_.contains(rkey));
  regions_[rkey] = Region{memory, writable};
  return {reinterpret_cast<uint64_t>(memory.data()), rkey};
}

void LoopbackLink::Withdraw(uint32_t rkey) {
  absl::MutexLock lock(&mutex_);
  regions_.erase(rkey);
}

LoopbackLink::Outcome LoopbackLink::Write(uint64_t address, uint32_t rkey,
                                          absl::Span<const std::byte> data) {
  // The copy is the device's; under the lock, so that Withdraw() means that nothing is being
  // written.
  absl::MutexLock lock(&mutex_);
  if (ends_[kClient].detached) return Outcome::kGone;
  std::byte* target = Reach(address, rkey, data.size(), /*write=*/true);
  if (target == nullptr) return Outcome::kRefused;
  std::memcpy(target, data.data(), data.size());
  return Outcome::kDone;
}

LoopbackLink::Outcome LoopbackLink::Read(uint64_t address, uint32_t rkey,
                                         absl::Span<std::byte> destination) {
  absl::MutexLock lock(&mutex_);
  if (ends_[kClient].detached) return Outcome::kGone;
  const std::byte* source = Reach(address, rkey, destination.size(), /*write=*/false);
  if (source == nullptr) return Outcome::kRefused;
  std::memcpy(destination.data(), source, destination.size());
  return Outcome::kDone;
}

std::byte* LoopbackLink::Reach(uint64_t address, uint32_t rkey, size_t size, bool write) {
  auto found = regions_.find(rkey);
  if (found == regions_.end() || found->second.writable != write) return nullptr;
  const absl::Span<std::byte> memory = found->second.memory;
  const uint64_t begin = reinterpret_cast<uint64_t>(memory.data());
  if (address < begin || address - begin > memory.size()) return nullptr;
  const size_t offset = address - begin;
  return size <= memory.size() - offset ? memory.data() + offset : nullptr;
}

}  // namespace rdmafs
