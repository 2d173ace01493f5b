#include "client/library/export.h"

#include <grp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "transport/base/check.h"

namespace rdmafs::library {
namespace {

constexpr size_t kMessageBytes = 8192;
constexpr size_t kMessagePoolBytes = size_t{64} << 20;
static_assert(kMessageBytes >= wire::kMaxMessageBytes);
constexpr size_t kPage = 4096;

// A child finds zeroes there (MADV_WIPEONFORK): no system call is needed to tell it from its
// parent.
const char* MakeAlivePage() {
  void* page =
      ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  CHECK(::madvise(page, kPage, MADV_WIPEONFORK) == 0);
  *static_cast<char*>(page) = 1;
  return static_cast<const char*>(page);
}

std::vector<uint32_t> OwnGroups() {
  std::vector<gid_t> groups(static_cast<size_t>(std::max(0, ::getgroups(0, nullptr))));
  const int count = ::getgroups(static_cast<int>(groups.size()), groups.data());
  groups.resize(static_cast<size_t>(std::max(0, count)));
  if (groups.size() > wire::kMaxGroups) groups.resize(wire::kMaxGroups);
  return {groups.begin(), groups.end()};
}

}  // namespace

void Finish::operator()(int64_t result) const {
  if (call_ != nullptr) return export_->completions().Add(call_, result, &export_->operation_count);
  export_->operation_count.fetch_sub(1, std::memory_order_relaxed);
  waiter_->result = result;
  waiter_->done.Notify();  // and the waiter is gone
}

Export::Export(const Options& options)
    : options_(options),
      alive_(MakeAlivePage()),
      messages_(arena_, {.payload_bytes = kMessageBytes,
                         .headroom_bytes = 0,
                         .tailroom_bytes = 0,
                         .cap_bytes = kMessagePoolBytes,
                         .slab_bytes = size_t{2} << 20}),
      groups_(OwnGroups()) {
  caller_.uid = ::geteuid();
  caller_.gid = ::getegid();
  caller_.pid = static_cast<uint32_t>(::getpid());
  caller_.groups = groups_;
}

absl::StatusOr<std::unique_ptr<Export>> Export::Connect(const Options& options,
                                                        const TransportFactory& make_transports) {
  std::unique_ptr<Export> made(new Export(options));
  if (absl::Status status = made->Connect(make_transports); !status.ok()) return status;
  return made;
}

absl::Status Export::Connect(const TransportFactory& make_transports) {
  auto tls = MakeTlsSource(options_.tls, options_.key);
  if (!tls.ok()) return tls.status();
  transports_ = make_transports(options_.transport, {arena_, messages_, clock_, options_.exposure},
                                *std::move(tls));
  connector_ = std::make_unique<Connector>(
      std::vector<Endpoint>{options_.server}, options_.transport, transports_.tcp.get(),
      transports_.rdma.get(), wire::kDefaultCredits, options_.tls.on);
  memory_ = std::make_unique<CallerMemory>(transports_.tcp.get(), transports_.rdma.get());
  std::vector<EventLoop*> loops;
  for (size_t i = 0; i < options_.threads; ++i) {
    shards_.push_back(
        std::make_unique<Shard>(arena_, clock_, options_.pool_bytes / options_.threads));
    loops.push_back(&shards_.back()->loop);
  }
  ClientOptions client_options;
  client_options.path = options_.directory;
  client_options.connection_count = options_.connections;
  client_options.soft_timeout = options_.timeout;
  client_options.key = options_.key;
  auto client = Client::Connect(*connector_, messages_, client_options, std::move(loops));
  if (!client.ok()) return client.status();
  client_ = *std::move(client);
  transport_name_ = connector_->chosen();
  if (options_.watches_mappings && registers_memory()) {
    if (absl::Status status = memory_->WatchMappings(clock_); !status.ok()) return status;
  }
  BuildStacks();
  return absl::OkStatus();
}

void Export::BuildStacks() {
  read_ahead_files_ = std::make_unique<ReadAheadFiles>(
      versions_,
      SharedReadAhead(options_.read_ahead, shards_.front()->pool.options(), shards_.size()));
  for (size_t i = 0; i < shards_.size(); ++i) {
    const StackParts parts{client_->file_system(i), shards_[i]->loop, shards_[i]->pool,
                           *read_ahead_files_};
    shards_[i]->stack =
        std::make_unique<Stack>(BuildStack(parts, {options_.read_ahead, ReadAheadSituation{}}));
  }
}

Export::~Export() {
  if (client_ != nullptr) client_->Shutdown();
  for (auto& shard : shards_) {
    absl::Notification done;
    shard->loop.Post([&] {
      shard->stack.reset();
      done.Notify();
    });
    done.WaitForNotification();
  }
  read_ahead_files_.reset();
  client_.reset();
  for (auto& shard : shards_) {
    shard->loop.Stop();
    shard->thread.join();
  }
  ::munmap(const_cast<char*>(alive_), kPage);
}

uint64_t Export::PendingCount() const {
  const PoolBuffers::Statistics buffers = buffers_.statistics();
  return completions_.CountWith(operation_count) + file_count + node_count +
         memory_->statistics().range_count + buffers.in_transmission + buffers.being_consumed +
         buffers.being_returned;
}

bool Export::registers_memory() const {
  return transport_name_ != "tcp";  // loopback's rules are those of verbs
}

void Export::Describe(rdmafs_statistics& out) const {
  const PoolBuffers::Statistics buffers = buffers_.statistics();
  for (const auto& shard : shards_) {
    const BufferPool::Statistics pool = shard->pool.statistics();
    const uint64_t stride = options_.pool_bytes == 0 || pool.block_count == 0
                                ? shard->pool.options().payload_bytes + 2 * kPage
                                : pool.size_bytes / pool.block_count;
    const uint64_t most = pool.cap_bytes / stride;
    out.buffers_available += most > pool.used_count ? most - pool.used_count : 0;
  }
  out.buffers_in_transmission = buffers.in_transmission;
  out.buffers_being_consumed = buffers.being_consumed;
  out.buffers_being_returned = buffers.being_returned;
  out.buffers_misused = buffers.misused;
  out.operations = operation_count;
  out.completions = completions_.count();
  out.files = file_count;
  out.nodes = node_count;
  const CallerMemory::Statistics registered = memory_->statistics();
  out.registered_ranges = registered.range_count;
  out.registered_bytes = registered.range_bytes;
  out.watched_bytes = registered.watched_bytes;
  out.mapping_changes = registered.change_count;
  out.direct_bytes = traffic_.direct;
  out.bounced_bytes = traffic_.bounced;
  out.inline_bytes = traffic_.inlined;
  out.read_ahead_bytes = traffic_.read_ahead;
  out.call_registrations = traffic_.call_registrations;
  out.copied_bytes = traffic_.copied;
  const Client::Status client = client_->status();
  out.copied_bytes += client.copied_bytes;
  for (const auto& shard : shards_) {
    if (const ReadAheadStatistics* statistics = shard->stack->read_ahead())
      out.copied_bytes += statistics->copied_bytes.load(std::memory_order_relaxed);
  }
  out.bytes_sent = client.bytes_sent;
  out.bytes_received = client.bytes_received;
  out.reconnects = client.reconnect_count;
  const Transport& transport =
      transport_name_ == "rdma" ? *transports_.rdma : *transports_.tcp;
  const MemoryRegionCache::Statistics memory = transport.memory_statistics();
  out.memory_registrations = memory.registration_count;
  out.memory_lookups = memory.lookup_count;
  out.memory_hits = memory.hit_count;
}

}  // namespace rdmafs::library
