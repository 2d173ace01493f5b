#include "server/session_table.h"

#include <utility>

namespace rdmafs::server {

Result<std::shared_ptr<Session>> SessionTable::Create(std::string_view peer_host) {
  SessionId id;
  random_(absl::MakeSpan(reinterpret_cast<std::byte*>(id.words), sizeof id.words));
  absl::MutexLock lock(&mutex_);
  if (sessions_.size() >= kMaxSessions || id.none() || sessions_.contains(id)) return Errno(ENFILE);
  auto session = std::make_shared<Session>(id, next_number_++, std::string(peer_host));
  sessions_.emplace(id, Entry{session, 1});
  return session;
}

Result<std::shared_ptr<Session>> SessionTable::Join(const SessionId& id,
                                                    std::string_view peer_host) {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(id);
  if (found == sessions_.end() || found->second.fenced) return Errno(ESTALE);
  Entry& entry = found->second;
  if (entry.session->peer_host() != peer_host) return Errno(EACCES);
  if (entry.channel_count >= kMaxChannelsPerSession) return Errno(EMFILE);
  ++entry.channel_count;
  return entry.session;
}

std::shared_ptr<Session> SessionTable::Fence(const SessionId& id, std::string_view peer_host) {
  std::shared_ptr<Session> session;
  {
    absl::MutexLock lock(&mutex_);
    auto found = sessions_.find(id);
    if (found == sessions_.end() || found->second.session->peer_host() != peer_host) return nullptr;
    found->second.fenced = true;
    session = found->second.session;
  }
  session->CloseConnections();
  return session;
}

bool SessionTable::Leave(const Session& session) {
  absl::MutexLock lock(&mutex_);
  auto found = sessions_.find(session.id());
  if (found == sessions_.end() || --found->second.channel_count != 0) return false;
  sessions_.erase(found);
  return true;
}

std::vector<std::shared_ptr<Session>> SessionTable::All() const {
  std::vector<std::shared_ptr<Session>> all;
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, entry] : sessions_) all.push_back(entry.session);
  return all;
}

size_t SessionTable::count() const {
  absl::MutexLock lock(&mutex_);
  return sessions_.size();
}

size_t SessionTable::open_file_count() const {
  absl::MutexLock lock(&mutex_);
  size_t count = 0;
  for (const auto& [id, entry] : sessions_) count += entry.session->opens().count();
  return count;
}

}  // namespace rdmafs::server
