#include "server/session.h"

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

bool Session::AddConnection(uint64_t key, std::function<void()> close) {
  absl::MutexLock lock(&mutex_);
  if (closing_) return false;
  connections_.emplace_back(key, std::move(close));
  return true;
}

void Session::RemoveConnection(uint64_t key) {
  std::vector<UniqueFunction<void()>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(connections_, [key](const auto& connection) { return connection.first == key; });
    if (connections_.empty()) waiting.swap(waiting_);
  }
  for (auto& then : waiting) then();
}

void Session::CloseConnections() {
  std::vector<std::pair<uint64_t, std::function<void()>>> connections;
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    connections = connections_;
  }
  for (auto& [key, close] : connections) close();
}

void Session::WhenOver(UniqueFunction<void()> then) {
  {
    absl::MutexLock lock(&mutex_);
    DCHECK(closing_);
    if (!connections_.empty()) {
      waiting_.push_back(std::move(then));
      return;
    }
  }
  then();
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

}  // namespace rdmafs::server
