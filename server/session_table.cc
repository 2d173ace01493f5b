#include "server/session_table.h"

#include <utility>

namespace rdmafs::server {

Result<std::shared_ptr<Session>> SessionTable::Create(
    std::string_view peer_host, std::optional<Session::KeyProof> key, Protection protection) {
  SessionId id;
  random_(absl::MakeSpan(reinterpret_cast<std::byte*>(id.words), sizeof id.words));
  absl::MutexLock lock(&mutex_);
  if (sessions_.size() >= kMaxSessions || id.none() || sessions_.contains(id)) return Errno(ENFILE);
  auto session = std::make_shared<Session>(id, next_number_++, std::string(peer_host),
                                           std::move(key), protection);
  sessions_.emplace(id, session);
  return session;
}

Result<std::shared_ptr<Session>> SessionTable::Find(const SessionId& id) const {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second->over()) return Errno(ESTALE);
  return found->second;
}

void SessionTable::Erase(const Session& session) {
  std::shared_ptr<Session> erased;  // outlives the lock
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(session.id());
  if (found == sessions_.end() || found->second.get() != &session) return;
  erased = std::move(found->second);
  sessions_.erase(found);
}

std::shared_ptr<Session> SessionTable::OldestIdle() const {
  std::shared_ptr<Session> oldest;
  absl::MutexLock lock(&mutex_);
  if (sessions_.size() < kMaxSessions) return nullptr;
  for (const auto& [id, session] : sessions_) {
    if (session->idle() && (oldest == nullptr || session->number() < oldest->number())) {
      oldest = session;
    }
  }
  return oldest;
}

std::vector<std::shared_ptr<Session>> SessionTable::All() const {
  std::vector<std::shared_ptr<Session>> all;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, session] : sessions_) all.push_back(session);
  return all;
}

size_t SessionTable::count() const {
  absl::MutexLock lock(&mutex_);
  return sessions_.size();
}

size_t SessionTable::idle_count() const {
  absl::MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto& [id, session] : sessions_) count += session->idle() ? 1 : 0;
  return count;
}

size_t SessionTable::open_file_count() const {
  absl::MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto& [id, session] : sessions_) count += session->opens().count();
  return count;
}

}  // namespace rdmafs::server
