#include "fuse/stack_builder.h"

#include "absl/synchronization/notification.h"
#include "client/read_ahead_report.h"
#include "transport/rdma/rdma_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::fuse {
namespace {

// Messages of all connections together: at most 16 of them, with 256 credits each.
constexpr size_t kMessageBytes = 8192;
constexpr size_t kMessagePoolBytes = size_t{64} << 20;
static_assert(kMessageBytes >= wire::kMaxMessageBytes);

}  // namespace

RemoteSource::RemoteSource(const MountOptions& options, Arena& arena, const Clock& clock)
    : options_(options),
      messages_(arena, {.payload_bytes = kMessageBytes,
                        .headroom_bytes = 0,
                        .tailroom_bytes = 0,
                        .cap_bytes = kMessagePoolBytes,
                        .slab_bytes = size_t{2} << 20}),
      resources_{arena, messages_, clock, options.exposure,
                 /*lends_pages=*/options.NeverLeavesTcp()} {}

RemoteSource::~RemoteSource() { Shutdown(); }

absl::StatusOr<FileSystemSource::Attached> RemoteSource::Connect(
    absl::Span<const ShardParts> shards) {
  for (const ShardParts& shard : shards) loops_.push_back(shard.loop);
  KeySource key;
  if (options_.psk) key = KeyOfFile(options_.key_file, options_.key_name);
  auto tls = MakeTlsSource(options_.tls, key);
  if (!tls.ok()) return tls.status();
  tcp_ = std::make_unique<TcpTransport>(resources_, *std::move(tls));
  if (options_.transport != TransportChoice::kTcp && !options_.tls.on)
    rdma_ = std::make_unique<RdmaTransport>(resources_);
  std::vector<Endpoint> servers;
  for (const std::string& host : options_.hosts) servers.push_back({host, options_.port});
  connector_ = std::make_unique<Connector>(std::move(servers), options_.transport, tcp_.get(),
                                           rdma_.get(), wire::kDefaultCredits, options_.tls.on);
  ClientOptions client_options;
  client_options.path = options_.directory;
  client_options.connection_count = static_cast<int>(options_.nconnect);
  client_options.key = std::move(key);
  client_options.sync = options_.sync;
  client_options.soft_timeout = options_.soft ? options_.timeout : 0;
  auto client = Client::Connect(*connector_, messages_, client_options, loops_);
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  BuildStacks(shards);
  return Attached{client_->root(), client_->read_only()};
}

void RemoteSource::BuildStacks(absl::Span<const ShardParts> shards) {
  StackOptions options;
  options.read_ahead = options_.read_ahead;
  options.situation.kernel_reads_ahead = !options_.settings.UsesDirectIo();
  options.situation.round_trip = round_trip_ = client_->MeasureRoundTrip();
  const BufferPool& pool = *shards.front().pool;
  const size_t pool_count = shards.back().pool == &pool ? 1 : shards.size();
  read_ahead_files_ = std::make_unique<ReadAheadFiles>(
      versions_, SharedReadAhead(options_.read_ahead, pool.options(), pool_count));
  for (size_t i = 0; i < shards.size(); ++i) {
    const StackParts parts{client_->file_system(i), *shards[i].loop, *shards[i].pool,
                           *read_ahead_files_};
    stacks_.push_back(std::make_unique<Stack>(BuildStack(parts, options)));
  }
}

void RemoteSource::Shutdown() {
  if (client_ != nullptr) client_->Shutdown();
  for (size_t i = 0; i < stacks_.size(); ++i) {
    absl::Notification done;
    loops_[i]->Post([&] {
      stacks_[i].reset();
      done.Notify();
    });
    done.WaitForNotification();
  }
  stacks_.clear();
  read_ahead_files_.reset();  // before the shards' pools
  client_.reset();
}

void RemoteSource::Describe(ProgramStatus& status) const {
  const Client::Status client = client_->status();
  status.state = client.connected ? "ready" : "reconnecting";
  status.transport.name = client.transport;
  status.transport.why = client.why;
  status.transport.device = client.device;
  status.transport.memory = client.exposure;
  status.transport.security = client.security;
  if (!client.peer.empty()) status.transport.peers.push_back(client.peer);
  status.transport.connection_count = client.connection_count;
  status.transport.messages_sent = client.messages_sent;
  status.transport.messages_received = client.messages_received;
  status.transport.bytes_sent = client.bytes_sent;
  status.transport.bytes_received = client.bytes_received;
  status.transport.copied_bytes = client.copied_bytes;
  status.credits = ProgramStatus::Credits{client.credits, client.in_flight};
  status.pools["messages"] = messages_.statistics();
  const Transport& transport = client.transport == "rdma" && rdma_ != nullptr ? *rdma_ : *tcp_;
  status.memory = transport.memory_statistics();
  status.retry_count = client.repeated_count;
  status.reconnect_count = client.reconnect_count;
  status.counters["round_trip_us"] = static_cast<uint64_t>(round_trip_ / kMicrosecond);
  for (const auto& stack : stacks_) AddReadAhead(stack->read_ahead(), status.counters);
  status.counters["read_ahead.memory_bytes"] = read_ahead_files_->memory_bytes();
}

}  // namespace rdmafs::fuse
