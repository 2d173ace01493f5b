// rdmafsd: reads its options, builds the stack, and serves until it is told to end.
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/capabilities.h"
#include "server/daemon.h"
#include "server/export_directory.h"
#include "server/key_ring.h"
#include "server/limits.h"
#include "server/listeners.h"
#include "server/lock_holders_file.h"
#include "server/options.h"
#include "server/process_limits.h"
#include "server/recall_decision.h"
#include "server/recall_log.h"
#include "server/server.h"
#include "server/server_tls.h"
#include "server/service_notify.h"
#include "server/state_directory.h"
#include "server/thread_credentials.h"
#include "transport/auth/key_file.h"
#include "transport/base/check.h"
#include "transport/base/log.h"
#include "transport/control/control_path.h"
#include "transport/control/control_socket.h"
#include "transport/rdma/rdma_transport.h"
#include "transport/tcp/tcp_transport.h"

namespace rdmafs::server {
namespace {

constexpr Nanoseconds kStopPatience = 10 * kSecond;
constexpr Nanoseconds kBusyPoll = 20 * kMicrosecond;
constexpr int kCoresForBusyPoll = 4;
constexpr size_t kMessageBytes = 8192;
constexpr size_t kMessagePoolBytes = size_t{512} << 20;  // RDMA: about 0.5 MiB for a connection

void FillRandom(absl::Span<std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = getrandom(bytes.data(), bytes.size(), 0);
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
}

int CoreCount() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

ServerOptions OptionsOf(const ServerConfiguration& configuration) {
  ServerOptions options;
  options.shard_count = configuration.shards != 0 ? configuration.shards : CoreCount();
  options.worker_count =
      configuration.workers != 0 ? configuration.workers : std::max(4, 2 * CoreCount());
  options.use_io_uring = configuration.io_uring;
  options.lease = configuration.lease_s * kSecond;
  options.busy_poll = CoreCount() >= kCoresForBusyPoll ? kBusyPoll : 0;
  return options;
}

// All that lives between start and end, in the order in which it depends on each other.
class Program {
 public:
  explicit Program(const ServerConfiguration& configuration)
      : configuration_(configuration),
        messages_(arena_, {.payload_bytes = kMessageBytes,
                           .headroom_bytes = 0,
                           .tailroom_bytes = 0,
                           .cap_bytes = kMessagePoolBytes,
                           .slab_bytes = size_t{2} << 20}),
        blocks_(arena_, {.cap_bytes = configuration.pool_bytes}),
        rdma_({arena_, messages_, clock_}),
        state_(configuration.state_directory, configuration.port),
        keys_(configuration.key_file),
        loop_(clock_) {}

  absl::Status Start();
  // Until SIGTERM or SIGINT.
  void Run() { loop_.Run(); }
  void Stop();
  void SayReady(Daemon& daemon);

 private:
  absl::Status WatchSignals();
  void OpenRecallLog();
  absl::Status MakeTcp();
  void AssumeDataWriter();
  absl::Status OpenControlSocket();
  void OnSignal();
  void Reload();
  void WatchKeys();
  void ReloadKeys();
  void ReloadCertificates();
  static absl::Status ReadAsTheServer(const std::string& file,
                                      const std::function<absl::Status()>& read);
  ProgramStatus Status() const;

  const ServerConfiguration& configuration_;
  const MonotonicClock clock_;
  const Nanoseconds started_ = clock_.Now();
  ServiceNotify notify_;
  Arena arena_;
  BufferPool messages_;
  BufferPool blocks_;
  std::unique_ptr<TlsFiles> tls_;  // nullptr: off
  std::unique_ptr<TcpTransport> tcp_;
  RdmaTransport rdma_;
  const StateDirectory state_;
  std::unique_ptr<LockHoldersFile> lock_holders_;
  std::unique_ptr<RecallLog> recall_log_;
  KeyRing keys_;
  std::unique_ptr<ExportDirectory> exports_;
  std::unique_ptr<Server> server_;
  EventLoop loop_;
  UniqueFd signals_;
  OpenListeners open_;
  std::unique_ptr<ControlSocket> control_;
};

absl::Status Program::Start() {
  if (absl::Status status = WatchSignals(); !status.ok()) return status;
  auto exports = ExportDirectory::Open(configuration_, clock_, keys_);
  if (!exports.ok()) return exports.status();
  exports_ = std::move(*exports);
  if (absl::Status status = MakeTcp(); !status.ok()) return status;
  if (absl::Status status = OpenControlSocket(); !status.ok()) {
    Log(LogLevel::kWarning, "rdmafsctl will not reach this server: ", status.message());
  }
  lock_holders_ = std::make_unique<LockHoldersFile>(state_.lock_holders());
  OpenRecallLog();
  ServerOptions options = OptionsOf(configuration_);
  options.recall_log = recall_log_.get();
  options.lock_holders = lock_holders_->at_start();
  options.keys = &keys_;
  options.tls_required = configuration_.tls == TlsChoice::kRequired;
  options.remember_lock_holders = [file = lock_holders_.get()](size_t row,
                                                               const LockHolder& holder) {
    file->Store(row, holder);
  };
  server_ = std::make_unique<Server>(clock_, messages_, blocks_, *exports_, FillRandom, options);
  AssumeDataWriter();
  auto open = Listen(
      configuration_, *tcp_, rdma_, loop_,
      [this](std::unique_ptr<Connection> connection) { server_->Accept(std::move(connection)); });
  if (!open.ok()) return open.status();
  open_ = std::move(*open);
  state_.NameAfter(open_.listeners.front()->port());
  server_->Start();
  WatchKeys();
  return absl::OkStatus();
}

// Without one the server serves all the same: calls that are lost with the process then end with
// EIO.
void Program::OpenRecallLog() {
  auto log = RecallLog::Open(state_.calls(), {.boot = ReadBootId()});
  if (!log.ok()) {
    Log(LogLevel::kNotice, "the next process will not know of this one's calls: ",
        log.status().message());
    return;
  }
  recall_log_ = *std::move(log);
  // The thread takes on others' identities, which this one must not.
  std::thread([this] {
    DecideCallsInDoubt(*recall_log_, [this](uint32_t id) { return exports_->StoreOf(id); });
  }).join();
}

absl::Status Program::MakeTcp() {
  auto tls = MakeServerTls(configuration_, keys_);
  if (!tls.ok()) return tls.status();
  tls_ = *std::move(tls);
  TlsSource source;
  if (tls_ != nullptr) source = [this] { return tls_->context(); };
  tcp_ = std::make_unique<TcpTransport>(TransportResources{arena_, messages_, clock_},
                                        std::move(source));
  return absl::OkStatus();
}

// A key file that has changed is read again by itself.
void Program::WatchKeys() {
  loop_.After(kKeyFileInterval, [this] {
    if (keys_.loaded() && keys_.HasChanged()) ReloadKeys();
    WatchKeys();
  });
}

void Program::ReloadKeys() {
  const absl::Status status = ReadAsTheServer(keys_.file(), [this] { return keys_.Load(); });
  if (status.ok()) {
    Log(LogLevel::kNotice, "read the keys again: ", keys_.count(), " of them");
    server_->ReviewAttachments();
  } else {
    Log(LogLevel::kError, "the keys stay as they were: ", status.message());
  }
}

// For connections that come from now on.
void Program::ReloadCertificates() {
  const std::string& file = configuration_.certificate_file;
  const absl::Status status = ReadAsTheServer(file, [this] { return tls_->Load(); });
  if (status.ok()) {
    Log(LogLevel::kNotice, "read the certificates again: ", file);
  } else {
    Log(LogLevel::kError, "the certificates stay as they were: ", status.message());
  }
}

// The file is the server's user's, and this thread acts as nobody.
absl::Status Program::ReadAsTheServer(const std::string& file,
                                      const std::function<absl::Status()>& read) {
  absl::Status status;
  std::thread([&] {
    Errno restored = ThreadCredentials::OfThisThread().Restore();
    status = restored.ok() ? read() : absl::ErrnoToStatus(restored.value(), file);
  }).join();
  return status;
}

// Shards write under the ids of nobody: with root's, quotas and reserved blocks would not hold for
// anyone. They inherit them from this thread, and neither ever changes them: rdma_cm, and the
// drivers whose doorbell is a write(2) (rxe, siw), refuse (EACCES) a thread whose credentials are
// not the very ones that opened the descriptor. So this comes after the workers, which take on
// their callers' ids, and before RDMA's first descriptor.
void Program::AssumeDataWriter() {
  if (Errno error = ThreadCredentials::OfThisThread().AssumeDataWriter(); !error.ok()) {
    Log(LogLevel::kDebug, "shards write with the server's own rights: ", error.ToString());
  }
}

absl::Status Program::WatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  // Before threads exist: they inherit it.
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return absl::ErrnoToStatus(errno, "sigprocmask");
  signal(SIGPIPE, SIG_IGN);
  signals_.reset(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return absl::ErrnoToStatus(errno, "signalfd");
  Errno added = loop_.Add(signals_.get(), EPOLLIN, [this](uint32_t) { OnSignal(); });
  return added.ok() ? absl::OkStatus() : absl::ErrnoToStatus(added.value(), "epoll_ctl");
}

absl::Status Program::OpenControlSocket() {
  auto path = MakeControlPath(configuration_.run_directory, "rdmafsd");
  if (!path.ok()) return path.status();
  auto control = ControlSocket::Listen(loop_, *path, [this](std::string_view command) {
    return AnswerControl(command, [this] { return Status(); });
  });
  if (!control.ok()) return control.status();
  control_ = std::move(*control);
  return absl::OkStatus();
}

void Program::SayReady(Daemon& daemon) {
  for (const std::string& address : open_.addresses) {
    const std::string line = absl::StrCat("serving ", exports_->Summary(), " on ", address);
    // Scripts read it here: that the log goes to them, too, is not certain.
    std::printf("rdmafsd: %s\n", line.c_str());
    if (!configuration_.foreground) Log(LogLevel::kNotice, line);
  }
  std::fflush(stdout);
  if (!open_.not_rdma.empty()) Log(LogLevel::kNotice, "not serving rdma: ", open_.not_rdma);
  daemon.Ready();
  notify_.Ready();
}

void Program::OnSignal() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGHUP) {
      Reload();
    } else {
      Log(LogLevel::kNotice, "ending: ", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
      loop_.Stop();
    }
  }
}

void Program::Reload() {
  notify_.Reloading();
  if (keys_.loaded()) ReloadKeys();
  if (tls_ != nullptr && tls_->has_files()) ReloadCertificates();
  // On a thread that ends with it: opening a store may change the credentials of the thread that
  // does, and this one's must stay what RDMA's descriptors were opened with.
  absl::Status status;
  std::thread([&] { status = exports_->Reload(); }).join();
  if (status.ok()) {
    Log(LogLevel::kNotice, "read the exports again: ", exports_->Summary());
    server_->ReviewAttachments();
  } else {
    Log(LogLevel::kError, "the exports stay as they were: ", status.message());
  }
  notify_.Ready();
}

void Program::Stop() {
  notify_.Stopping();
  control_.reset();
  open_.listeners.clear();
  if (server_->Stop(kStopPatience)) {
    if (recall_log_ != nullptr) recall_log_->EndInOrder();
    return;
  }
  Log(LogLevel::kWarning,
      "calls did not end in time (a disk that does not answer?): ending without them");
  _exit(0);
}

ProgramStatus Program::Status() const {
  ProgramStatus status;
  status.program = "rdmafsd";
  status.state = "ready";
  status.uptime = clock_.Now() - started_;
  status.listening = open_.addresses;
  status.exports = exports_->List();
  status.transport.why = open_.not_rdma.empty() ? "" : absl::StrCat("no rdma: ", open_.not_rdma);
  server_->AddTo(status);
  if (status.transport.name.empty()) status.transport.name = "none";
  status.memory = rdma_.memory_statistics();
  return status;
}

int Complain(const absl::Status& status) {
  std::fprintf(stderr, "rdmafsd: %s\n", std::string(status.message()).c_str());
  return 1;
}

// The working directory changes when the program goes into the background.
absl::Status MakeAbsolute(std::vector<std::string>& directories) {
  for (std::string& directory : directories) {
    char* resolved = realpath(directory.c_str(), nullptr);
    if (resolved == nullptr) {
      return absl::ErrnoToStatus(errno, directory);
    }
    directory = resolved;
    free(resolved);
  }
  return absl::OkStatus();
}

CapabilityNeeds NeedsOf(const ServerConfiguration& configuration) {
  return {.low_port = configuration.port != 0 && configuration.port < 1024,
          .locked_memory = configuration.transport != TransportChoice::kTcp};
}

int Main(absl::Span<const std::string> arguments) {
  absl::StatusOr<ServerConfiguration> parsed = ParseOptions(arguments);
  if (!parsed.ok()) return Complain(parsed.status());
  ServerConfiguration& configuration = *parsed;
  if (configuration.show_help) {
    std::fputs(std::string(UsageText()).c_str(), stdout);
    return 0;
  }
  if (configuration.show_version) {
    std::puts("rdmafsd " RDMAFS_VERSION);
    return 0;
  }
  if (absl::Status status = MakeAbsolute(configuration.directories); !status.ok())
    return Complain(status);
  if (configuration.key_file.empty()) configuration.key_file = auth::kDefaultKeyFile;
  std::error_code ignored;  // then opening it says what is wrong
  for (std::string* file : {&configuration.key_file, &configuration.certificate_file,
                            &configuration.private_key_file, &configuration.ca_file}) {
    if (!file->empty()) *file = std::filesystem::absolute(*file, ignored).string();
  }
  Daemon daemon;
  if (!configuration.foreground) daemon = Daemon::Fork();
  OpenLog("rdmafsd", configuration.foreground ? LogTarget::kStandardError : LogTarget::kSyslog,
          configuration.log_level);
  PrepareProcessToServeFiles();
  if (absl::Status status = DropUnneededCapabilities(NeedsOf(configuration)); !status.ok())
    return Complain(status);
  Program program(configuration);
  if (absl::Status status = program.Start(); !status.ok()) return Complain(status);
  program.SayReady(daemon);
  program.Run();
  program.Stop();
  return 0;
}

}  // namespace
}  // namespace rdmafs::server

int main(int argc, char** argv) {
  rdmafs::ChooseMutexChecks();
  return rdmafs::server::Main(std::vector<std::string>(argv + 1, argv + argc));
}
