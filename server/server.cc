#include "server/server.h"

#include <algorithm>
#include <fstream>
#include <string>

#include "server/key_ring.h"
#include "server/operation.h"
#include "server/session_end.h"
#include "transport/base/log.h"

namespace rdmafs::server {
namespace {

constexpr uint16_t kPrivilegedPort = 1;

void ReviewSessions(const ServerContext& context) {
  for (const std::shared_ptr<Session>& session : context.sessions.All()) {
    const std::optional<KeyIdentity> key = session->key();
    if (key && !context.keys->Has(*key)) {
      Log(LogLevel::kNotice, "client ", session->peer_host(), ": session ", session->number(),
          ": its key ", key->name, " is not one any more");
      session->CloseConnections();
      continue;
    }
    for (const auto& attachment : session->attachments()) {
      // Rules that ask for a privileged port were met when it was attached.
      Result<ExportSource::Found> found = context.exports.Find(
          {session->peer_host(), kPrivilegedPort, key ? key->name : "", session->protection()},
          attachment->path);
      if (!found.ok() || found->attachment->export_id != attachment->export_id ||
          found->attachment->store != attachment->store) {
        Log(LogLevel::kNotice, "client ", session->peer_host(), ": ", attachment->path,
            " is no longer exported to it");
        attachment->revoked.store(true, std::memory_order_relaxed);
      } else if (!found->attachment->SameRules(*attachment)) {
        session->Replace(attachment, found->attachment);
      }
    }
  }
}

std::array<uint64_t, 2> MakeServerId(const RandomSource& random) {
  std::array<uint64_t, 2> id{};
  random(absl::MakeSpan(reinterpret_cast<std::byte*>(id.data()), sizeof id));
  return id;
}

}  // namespace

std::array<uint64_t, 2> ReadBootId() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string digits;
  for (char c; file.get(c);) {
    if (c != '-' && c != '\n') digits.push_back(c);
  }
  std::array<uint64_t, 2> id{};
  for (size_t i = 0; i < 2 && digits.size() == 32; ++i) {
    id[i] = std::strtoull(digits.substr(16 * i, 16).c_str(), nullptr, 16);
  }
  return id;
}

Server::Server(const Clock& clock, BufferPool& messages, BufferPool& blocks, ExportSource& exports,
               RandomSource random, const ServerOptions& options)
    : options_(options),
      workers_(options.worker_count, options.prepare_worker),
      sessions_(random),
      breaches_(clock),
      grace_(options.lock_holders, options.remember_lock_holders),
      context_{.clock = clock,
               .messages = messages,
               .blocks = blocks,
               .workers = workers_,
               .sessions = sessions_,
               .locks = locks_,
               .exports = exports,
               .breaches = breaches_,
               .grace = grace_,
               .append_locks = append_locks_,
               .recall_log = options.recall_log,
               .lease = options.lease,
               .server_id = MakeServerId(random),
               .boot_id = ReadBootId(),
               .keys = options.keys,
               .handshakes = &handshakes_,
               .random = random,
               .tls_required = options.tls_required} {
  CHECK(messages.options().payload_bytes >= wire::kMaxMessageBytes);
  CHECK(blocks.options().payload_bytes >= wire::kMaxPayloadBytes);
  bool use_io_uring = options.use_io_uring;
  if (use_io_uring) {
    if (const std::string obstacle = IoRing::FindObstacle(); !obstacle.empty()) {
      Log(LogLevel::kNotice, "no io_uring here (", obstacle, "): workers read and write the disk");
      use_io_uring = false;
    }
  }
  for (int i = 0; i < options.shard_count; ++i) {
    shards_.push_back(
        std::make_unique<Shard>(context_, Shard::Options{use_io_uring, options.busy_poll}));
  }
  locks_.WatchHolders([this](uint64_t session, bool holds) { grace_.SetHolds(session, holds); });
  if (!grace_.active()) return;
  Log(LogLevel::kNotice, grace_.outstanding_count(),
      " clients held locks: others get none until they have them again, or ",
      options.lease / kSecond, " s are over");
  shards_[0]->loop().After(options.lease, [this] { grace_.End(); });
}

Server::~Server() = default;

void Server::Start() {
  for (auto& shard : shards_) shard->Start();
}

void Server::Accept(std::unique_ptr<Connection> connection) {
  if (connection_count() >= kMaxConnections) {
    refused_count_.fetch_add(1, std::memory_order_relaxed);
    breaches_.Write(connection->transport_name(), connection->peer(), "too many connections");
    return;
  }
  const size_t turn = next_shard_.fetch_add(1, std::memory_order_relaxed);
  shards_[turn % shards_.size()]->Adopt(std::move(connection));
}

bool Server::Stop(Nanoseconds patience) {
  grace_.Freeze();
  grace_.End();  // who waits for it would not come to an end
  for (auto& shard : shards_) shard->Stop();
  const Nanoseconds deadline = context_.clock.Now() + patience;
  for (auto& shard : shards_) {
    if (!shard->WaitStopped(std::max<Nanoseconds>(0, deadline - context_.clock.Now())))
      return false;
  }
  // Nobody comes back to this process.
  for (const std::shared_ptr<Session>& session : sessions_.All()) {
    if (session->BeginEnd()) EndSession(context_, session);
  }
  return true;
}

void Server::ReviewAttachments() {
  struct Review : WorkItem {
    const ServerContext* context;
  };
  auto item = std::make_unique<Review>();
  item->context = &context_;
  item->run = [](WorkItem& self) {
    std::unique_ptr<Review> review(static_cast<Review*>(&self));
    ReviewSessions(*review->context);
  };
  workers_.Queue(*item.release());
}

size_t Server::connection_count() const {
  size_t count = 0;
  for (const auto& shard : shards_) count += shard->connection_count();
  return count;
}

void Server::AddTo(ProgramStatus& status) const {
  status.session_count = sessions_.count();
  status.open_file_count = sessions_.open_file_count();
  ProgramStatus::Credits credits;
  for (const auto& shard : shards_) shard->AddTo(status, credits);
  status.credits = credits;
  status.pools["payload"] = context_.blocks.statistics();
  status.pools["messages"] = context_.messages.statistics();
  const WorkerPool::Statistics workers = workers_.statistics();
  status.counters["workers.threads"] = workers.thread_count;
  status.counters["workers.busy"] = workers.busy_count;
  status.counters["workers.queued"] = workers.queued_count;
  status.counters["workers.queued_peak"] = workers.queued_count_peak;
  status.counters["sessions.away"] = sessions_.idle_count();
  status.counters["locks.held"] = locks_.held_count();
  status.counters["locks.waiting"] = locks_.waiting_count();
  status.counters["connections.broke_protocol"] = breaches_.count();
  status.counters["connections.proving"] = handshakes_.count();
  status.counters["connections.refused"] = refused_count_.load(std::memory_order_relaxed);
}

}  // namespace rdmafs::server
