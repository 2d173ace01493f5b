#include "server/session.h"

#include <algorithm>

namespace rdmafs::server {

bool Session::Attach(std::shared_ptr<const Attachment> attachment) {
  absl::MutexLock lock(&mutex_);
  for (auto& present : attachments_) {
    if (present->export_id == attachment->export_id) {
      present = std::move(attachment);
      return true;
    }
  }
  if (attachments_.size() >= kMaxAttachmentsPerSession) return false;
  attachments_.push_back(std::move(attachment));
  return true;
}

std::shared_ptr<const Attachment> Session::FindAttachment(uint32_t export_id) const {
  absl::ReaderMutexLock lock(&mutex_);
  for (const auto& attachment : attachments_) {
    if (attachment->export_id == export_id) return attachment;
  }
  return nullptr;
}

void Session::Replace(const std::shared_ptr<const Attachment>& attachment,
                      std::shared_ptr<const Attachment> with) {
  absl::MutexLock lock(&mutex_);
  for (auto& present : attachments_) {
    if (present == attachment) present = with;
  }
}

std::vector<std::shared_ptr<const Attachment>> Session::attachments() const {
  absl::MutexLock lock(&mutex_);
  return attachments_;
}

std::optional<KeyIdentity> Session::key() const {
  absl::MutexLock lock(&mutex_);
  return key_;
}

void Session::SetKey(KeyIdentity key) {
  absl::MutexLock lock(&mutex_);
  key_ = std::move(key);
}

// --- Connections ---

Session::Joined Session::Join(const Member& member, SlotMemory& slots,
                              UniqueFunction<void()> again) {
  std::function<void()> close;
  {
    absl::MutexLock lock(&mutex_);
    if (ended_ || farewell_) return Joined::kOver;
    Place& place = places_[member.number];
    if (member.epoch < place.epoch) return Joined::kSuperseded;
    place.epoch = member.epoch;
    if (place.holder == nullptr) {
      place.holder = member.key;
      slots = std::exchange(place.slots, {});
      members_.push_back(member);
      if (open_count_++ == 0) ++idle_epoch_;
      return Joined::kYes;
    }
    place.waiting.push_back(std::move(again));
    for (const Member& other : members_) {
      if (other.key == place.holder) close = other.close;
    }
  }
  close();
  return Joined::kLater;
}

Session::Left Session::Leave(const Channel* key, uint16_t number, SlotMemory slots) {
  std::vector<UniqueFunction<void()>> waiting;
  Left left;
  {
    absl::MutexLock lock(&mutex_);
    Place& place = places_[number];
    DCHECK(place.holder == key);
    place.holder = nullptr;
    place.slots = std::move(slots);
    waiting.swap(place.waiting);
    left.last = --open_count_ == 0;
    if (left.last) ++idle_epoch_;
    left.idle_epoch = idle_epoch_;
    // One that comes back by a hello that waits here is not gone.
    left.keep = !farewell_ && !ended_ && !attachments_.empty();
  }
  for (auto& again : waiting) again();
  return left;
}

void Session::RemoveMember(const Channel* key) {
  std::vector<UniqueFunction<void()>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(members_, [key](const Member& member) { return member.key == key; });
    if (ended_ && members_.empty()) waiting.swap(waiting_);
  }
  for (auto& then : waiting) then();
}

void Session::CloseConnections() {
  std::vector<Member> members;
  {
    absl::MutexLock lock(&mutex_);
    members = members_;
  }
  for (Member& member : members) member.close();
}

// --- The end ---

void Session::SayFarewell() {
  absl::MutexLock lock(&mutex_);
  farewell_ = true;
}

bool Session::BeginEnd() {
  absl::MutexLock lock(&mutex_);
  return !std::exchange(ended_, true);
}

bool Session::BeginEndIfIdle(uint64_t idle_epoch) {
  absl::MutexLock lock(&mutex_);
  if (idle_epoch_ != idle_epoch || open_count_ != 0) return false;
  return !std::exchange(ended_, true);
}

void Session::WhenOver(UniqueFunction<void()> then) {
  {
    absl::MutexLock lock(&mutex_);
    if (!ended_ || !members_.empty()) {
      waiting_.push_back(std::move(then));
      return;
    }
  }
  then();
}

bool Session::over() const {
  absl::MutexLock lock(&mutex_);
  return ended_ && members_.empty();
}

bool Session::idle() const {
  absl::MutexLock lock(&mutex_);
  return open_count_ == 0;
}

}  // namespace rdmafs::server
