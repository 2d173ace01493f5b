#include "server/connection_registry.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace rdmafs::server {
namespace {

void AddTraffic(const ConnectionCounters& counters, ProgramStatus::Transport& sum) {
  sum.messages_sent += counters.messages_sent.load(std::memory_order_relaxed);
  sum.messages_received += counters.messages_received.load(std::memory_order_relaxed);
  sum.bytes_sent += counters.bytes_sent.load(std::memory_order_relaxed);
  sum.bytes_received += counters.bytes_received.load(std::memory_order_relaxed);
  sum.copied_bytes += counters.copied_bytes.load(std::memory_order_relaxed);
}

// "tcp", or "tcp rdma" when there are both.
void AddName(std::string_view name, std::string& names) {
  if (names.find(name) != names.npos) return;
  if (!names.empty()) names.push_back(' ');
  names.append(name);
}

}  // namespace

void ConnectionRegistry::Add(const Connection& connection) {
  absl::MutexLock lock(&mutex_);
  connections_.push_back(&connection);
}

void ConnectionRegistry::Remove(const Connection& connection) {
  absl::MutexLock lock(&mutex_);
  AddTraffic(connection.counters(), past_);
  std::erase(connections_, &connection);
}

void ConnectionRegistry::AddTo(ProgramStatus::Transport& transport,
                               ProgramStatus::Credits& credits) const {
  absl::MutexLock lock(&mutex_);
  transport.connection_count += connections_.size();
  transport.messages_sent += past_.messages_sent;
  transport.messages_received += past_.messages_received;
  transport.bytes_sent += past_.bytes_sent;
  transport.bytes_received += past_.bytes_received;
  transport.copied_bytes += past_.copied_bytes;
  for (const Connection* connection : connections_) {
    AddTraffic(connection->counters(), transport);
    AddName(connection->transport_name(), transport.name);
    if (transport.device.empty()) transport.device = connection->device();
    if (transport.peers.size() < ProgramStatus::kMaxPeers)
      transport.peers.push_back(connection->peer());
    credits.granted += connection->credits();
    if (const ChannelSecurity* security = connection->security()) {
      ++transport.secured_count;
      transport.security = absl::StrCat(security->protocol, " ", security->cipher);
    }
  }
}

size_t ConnectionRegistry::count() const {
  absl::MutexLock lock(&mutex_);
  return connections_.size();
}

}  // namespace rdmafs::server
