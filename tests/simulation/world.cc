#include "tests/simulation/world.h"

#include <sys/mman.h>
#include <unistd.h>

#include "server/grace_period.h"
#include "server/recall_decision.h"

namespace rdmafs::simulation {
namespace {

UniqueFd MakeFile() { return UniqueFd(memfd_create("calls", MFD_CLOEXEC)); }

UniqueFd CopyOf(const UniqueFd& file) {
  UniqueFd copy = MakeFile();
  std::string bytes(static_cast<size_t>(lseek(file.get(), 0, SEEK_END)), '\0');
  CHECK(pread(file.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  CHECK(pwrite(copy.get(), bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return copy;
}

// Room for all sessions of a run: a client may be kept out while many begin and end.
std::unique_ptr<server::RecallLog> OpenLog(const UniqueFd& file) {
  auto log = server::RecallLog::Over(UniqueFd(dup(file.get())),
                                     {.boot = {1, 1}, .record_count = 400, .session_count = 200});
  CHECK(log.ok());
  return std::move(*log);
}

}  // namespace

SimulatedServer::Process::Process(SimulatedServer& host, const VirtualClock& clock)
    : store(std::make_shared<CrashableStore>(host.disk_, host.scheduler_.random(), host.faults_,
                                             [&host] { host.Crash(); })),
      exports(store),
      recall_log(OpenLog(host.calls_)),
      server(clock, host.memory_.messages, host.memory_.blocks, exports,
             [&host](absl::Span<std::byte> bytes) {
               ++host.random_words_;
               std::memcpy(bytes.data(), &host.random_words_, sizeof host.random_words_);
             },
             {.shard_count = kShards,
              .worker_count = 0,
              .use_io_uring = false,
              .lease = kLease,
              .lock_holders = host.lock_holders_,
              .remember_lock_holders =
                  [&host](size_t row, const server::LockHolder& holder) {
                    if (host.killing_ || host.crashed_) return;
                    if (host.lock_holders_.size() <= row) host.lock_holders_.resize(row + 1);
                    host.lock_holders_[row] = holder;
                  },
              .recall_log = recall_log.get()}),
      accept_loop(clock),
      transport(host.hub_, {host.memory_.arena, host.memory_.messages, clock}) {}

SimulatedServer::SimulatedServer(Scheduler& scheduler, Memory& memory,
                                 std::shared_ptr<LoopbackHub> hub,
                                 const CrashableStore::Faults& faults)
    : scheduler_(scheduler),
      memory_(memory),
      hub_(std::move(hub)),
      faults_(faults),
      calls_(MakeFile()) {
  scheduler_.AddStep([this] {
    if (process_ == nullptr) return;
    for (uint64_t n = scheduler_.random().Below(4); n != 0; --n) {
      if (!process_->server.context().workers.RunQueued()) break;
      if (crashed_) return Kill();
    }
  });
}

SimulatedServer::~SimulatedServer() {
  if (running()) Kill();
}

void SimulatedServer::Start() {
  CHECK(process_ == nullptr);
  ++start_count_;
  process_ = std::make_unique<Process>(*this, scheduler_.clock());
  stores_.push_back(process_->store);
  server::DecideCallsInDoubt(*process_->recall_log,
                             [this](uint32_t) { return process_->store.get(); });
  auto listener = process_->transport.Listen({"", kPort}, ConnectionOptions{.credits = 8},
                                             process_->accept_loop,
                                             [process = process_.get()](auto connection) {
                                               process->server.Accept(std::move(connection));
                                             });
  CHECK(listener.ok());
  process_->listener = std::move(*listener);
  scheduler_.Add(process_->accept_loop);
  for (int i = 0; i < kShards; ++i) scheduler_.Add(process_->server.shard(i).loop());
}

void SimulatedServer::Crash() {
  crashed_ = true;
  calls_ = CopyOf(calls_);
}

void SimulatedServer::Kill() {
  killing_ = true;
  if (!std::exchange(crashed_, false)) calls_ = CopyOf(calls_);
  process_->store->Kill();
  process_->server.context().grace.End();
  process_->listener.reset();
  scheduler_.Remove(process_->accept_loop);
  server::Server& server = process_->server;
  for (int i = 0; i < kShards; ++i) {
    scheduler_.Remove(server.shard(i).loop());
    server.shard(i).Stop();
  }
  // What is still under way comes to its end, unseen.
  for (bool ended = false; !ended;) {
    while (server.context().workers.RunQueued()) {
    }
    ended = true;
    for (int i = 0; i < kShards; ++i) {
      if (server.shard(i).loop().RunOnce(0)) ended = false;
    }
  }
  while (server.context().workers.RunQueued()) {
  }
  process_.reset();
  killing_ = false;
}

SimulatedClient::SimulatedClient(Scheduler& scheduler, Memory& memory,
                                 std::shared_ptr<LoopbackHub> hub, Nanoseconds soft_timeout)
    : scheduler_(scheduler),
      memory_(memory),
      loop_(scheduler.clock()),
      loopback_(std::move(hub), {memory.arena, memory.messages, scheduler.clock()}),
      network_(loopback_),
      connector_({Endpoint{"server", kPort}}, TransportChoice::kTcp, &network_, nullptr, 8),
      options_{.path = "/export",
               .connection_count = 2,
               .soft_timeout = soft_timeout,
               .waiting = &scheduler} {
  scheduler_.Add(loop_);
}

SimulatedClient::~SimulatedClient() { scheduler_.Remove(loop_); }

absl::Status SimulatedClient::Connect() {
  auto client = Client::Connect(connector_, memory_.messages, options_, {&loop_});
  if (!client.ok()) return client.status();
  client_ = std::move(*client);
  root_ = client_->root().handle;
  return absl::OkStatus();
}

void SimulatedClient::Shutdown() {
  if (client_ == nullptr) return;
  // From now on nobody asks it for anything.
  const std::unique_ptr<Client> client = std::move(client_);
  client->Shutdown();
}

}  // namespace rdmafs::simulation
