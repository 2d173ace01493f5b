#include "server/handshake_limit.h"

namespace rdmafs::server {

std::optional<HandshakeLimit::Ticket> HandshakeLimit::Take(const std::string& host) {
  {
    absl::MutexLock lock(&mutex_);
    if (count_ >= kMaxHandshakes) return std::nullopt;
    size_t& of_host = by_host_[host];
    if (of_host >= kMaxHandshakesPerHost) return std::nullopt;
    ++of_host;
    ++count_;
  }
  return std::optional<Ticket>(std::in_place, *this, host);
}

size_t HandshakeLimit::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

void HandshakeLimit::Return(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  --count_;
  auto found = by_host_.find(host);
  if (--found->second == 0) by_host_.erase(found);
}

}  // namespace rdmafs::server
