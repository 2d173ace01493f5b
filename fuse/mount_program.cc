#include "fuse/mount_program.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "fuse/device_channel.h"
#include "fuse/helpers.h"
#include "fuse/init.h"
#include "fuse/kernel_mount.h"
#include "fuse/launch.h"
#include "fuse/mount_status.h"
#include "fuse/page_drops.h"
#include "fuse/shard.h"
#include "fuse/uring_channel.h"
#include "transport/auth/key_file.h"
#include "transport/control/control_path.h"
#include "transport/control/control_socket.h"
#include "transport/memory/buffer_pool.h"

namespace rdmafs::fuse {
namespace {

// How long whoever started us waits: connecting is bounded by 10 s, the mount and INIT by the next.
constexpr Nanoseconds kLaunchPatience = 45 * kSecond;
constexpr Nanoseconds kInitPatience = 10 * kSecond;
// After a signal: how long the kernel may take to hand in what it still has to write.
constexpr Nanoseconds kUnmountPatience = 5 * kSecond;
// After an interrupt: how often to look whether the server is lost, which is noticed within 30 s.
constexpr Nanoseconds kLookInterval = 200 * kMillisecond;
constexpr int kLooksForLoss = 300;
// At the end: how long the server may take to hear what was released.
constexpr Nanoseconds kReleasePatience = 2 * kSecond;

bool FewProcessors() { return std::thread::hardware_concurrency() < 4; }

size_t ShardCount(const MountOptions& options) {
  if (options.shards != 0) return options.shards;
  return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 4);
}

// The mount in the order of its life: Connect, Mount, Serve, End. Owned by the main thread.
class MountedFileSystem {
 public:
  MountedFileSystem(const MountOptions& options, const SourceFactory& make_source)
      : options_(options),
        settings_(options.settings),
        source_(make_source(options, arena_, clock_)) {
    if (FewProcessors() && options.shards == 0) helpers_.emplace();
  }
  ~MountedFileSystem() { End(); }

  absl::Status Connect();
  absl::Status Mount();
  void Serve();

 private:
  size_t ChooseUring();
  void WatchSignals();
  void OpenControlSocket();
  void FreeInterrupted();
  void LookAfterCallers();
  void OnSignal();
  void OnClosed(Errno reason);
  void OnInterrupt(uint64_t unique);
  void VisitShards(size_t index, size_t left, EventLoop::Task task);
  void End();

  const MountOptions& options_;
  const std::string run_directory_ = RunDirectory();
  const MonotonicClock clock_;
  Arena arena_;
  Settings settings_;
  std::unique_ptr<FileSystemSource> source_;
  EventLoop loop_{clock_};
  UniqueFd signals_;
  std::unique_ptr<Tables> tables_;
  std::vector<std::unique_ptr<BufferPool>> pools_;
  std::optional<Helpers> helpers_;  // where processors are few
  std::vector<std::unique_ptr<Shard>> shards_;
  std::optional<PageDrops> page_drops_;
  bool read_only_ = false;
  std::string why_no_uring_;
  std::unique_ptr<KernelMount> mount_;
  std::unique_ptr<ControlSocket> control_;
  Nanoseconds mounted_at_ = 0;
  bool ending_ = false;
  int looks_left_ = 0;
};

absl::Status MountedFileSystem::Connect() {
  WatchSignals();
  const size_t count = ShardCount(options_);
  std::vector<FileSystemSource::ShardParts> parts;
  // Shards that take turns at the requests share one pool.
  const size_t pool_count = helpers_ ? 1 : count;
  for (size_t i = 0; i < count; ++i) {
    if (i < pool_count) {
      const BufferPool::Options pool{.cap_bytes = options_.pool_bytes / pool_count};
      pools_.push_back(std::make_unique<BufferPool>(arena_, pool));
    }
    shards_.push_back(std::make_unique<Shard>(
        *pools_.back(), clock_,
        // Polling pays only where there is a processor to spare for it.
        Shard::Options{.index = i, .busy_poll = FewProcessors() ? 0 : 20 * kMicrosecond}));
    parts.push_back({&shards_.back()->loop(), pools_.back().get()});
  }
  absl::StatusOr<FileSystemSource::Attached> attached = source_->Connect(parts);
  if (!attached.ok()) return attached.status();
  tables_ = std::make_unique<Tables>(attached->root.handle);
  tables_->nodes.SeeRoot(attached->root.attributes);
  read_only_ = options_.read_only || attached->read_only;
  return absl::OkStatus();
}

absl::Status MountedFileSystem::Mount() {
  std::vector<std::string> kernel_options = options_.kernel_options;
  kernel_options.push_back(absl::StrCat("fsname=", options_.source));
  kernel_options.push_back("subtype=rdmafs");
  if (read_only_) kernel_options.push_back("ro");
  auto mount = KernelMount::Mount(options_.mount_point, kernel_options);
  if (!mount.ok()) return mount.status();
  mount_ = *std::move(mount);
  absl::StatusOr<int> device = mount_->DuplicateDevice();
  if (!device.ok()) return device.status();
  UniqueFd first(*device);
  const size_t uring_depth = ChooseUring();
  absl::Status status = AnswerInit(first.get(), settings_, clock_.Now() + kInitPatience);
  if (!status.ok()) return status;
  if (options_.io_uring == MountOptions::Uring::kOn && !settings_.over_io_uring) {
    return absl::FailedPreconditionError(absl::StrCat("io_uring=on: ", why_no_uring_));
  }

  // A descriptor of its own: it outlives the shards' channels.
  absl::StatusOr<int> notified = mount_->DuplicateDevice();
  if (!notified.ok()) return notified.status();
  page_drops_.emplace([device = std::make_shared<UniqueFd>(*notified)](uint64_t node_id) {
    fuse_notify_inval_inode_out out{};
    out.ino = node_id;  // from 0 on, to the end
    (void)Notify(device->get(), FUSE_NOTIFY_INVAL_INODE, BytesOf(out));
  });

  std::vector<UniqueFd> devices;
  for (size_t i = 1; i < shards_.size(); ++i) {
    auto clone = CloneDevice(first.get());
    if (!clone.ok()) return clone.status();
    devices.push_back(*std::move(clone));
  }
  devices.push_back(std::move(first));
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i]->Serve(
        std::move(devices[i]),
        {.file_system = source_->file_system(i),
         .tables = *tables_,
         .settings = settings_,
         .interrupt = [this](uint64_t unique) { OnInterrupt(unique); },
         .after_all_shards =
             [this, i](EventLoop::Task task) { VisitShards(i, shards_.size(), std::move(task)); },
         .drop_pages =
             [this, i](uint64_t node_id, EventLoop::Task then) {
               page_drops_->Drop(node_id, shards_[i]->loop(), std::move(then));
             },
         .server_is_lost = [this] { return !options_.soft && source_->IsLost(); },
         .on_closed = [this](Errno reason) { OnClosed(reason); },
         .uring_depth = settings_.over_io_uring ? uring_depth : 0,
         .shard_count = shards_.size(),
         .sharing = {.helpers = helpers_ ? &*helpers_ : nullptr,
                     .is_helper = helpers_ && i != 0,
                     .calls_for_large = source_->uses_sockets()}});
  }
  mounted_at_ = clock_.Now();
  OpenControlSocket();  // who started the mount may ask at once
  return absl::OkStatus();
}

// Says in settings_ whether FUSE over io_uring is to be asked for; returns the entries of a queue.
size_t MountedFileSystem::ChooseUring() {
  if (options_.io_uring == MountOptions::Uring::kOff) return 0;
  const size_t depth = UringChannel::Depth(options_.pool_bytes, UringChannel::QueueCount());
  why_no_uring_ = UringChannel::FindObstacle();
  if (why_no_uring_.empty() && depth == 0) {
    why_no_uring_ = absl::StrCat("pool_size is too small for the queues of ",
                                 UringChannel::QueueCount(), " processors");
  }
  settings_.over_io_uring = why_no_uring_.empty();
  why_no_uring_ = absl::StrCat(
      why_no_uring_, settings_.over_io_uring ? "the kernel does not offer it; it is in Linux 6.14 "
                                               "and newer, switched on by 'echo Y > "
                                               "/sys/module/fuse/parameters/enable_uring'"
                                             : "");
  return depth;
}

void MountedFileSystem::WatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);  // the shards' threads inherit it
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  CHECK(signals_.valid());
  CHECK(loop_.Add(signals_.get(), EPOLLIN, [this](uint32_t) { OnSignal(); }).ok());
}

void MountedFileSystem::OnSignal() {
  signalfd_siginfo signal;
  if (::read(signals_.get(), &signal, sizeof signal) != sizeof signal) return;
  Log(LogLevel::kNotice, "signal ", signal.ssi_signo, ": unmounting ", options_.mount_point);
  if (std::exchange(ending_, true)) return loop_.Stop();
  mount_->Unmount();
  // Ends when the kernel has let go of it; what is still open then finds the mount gone.
  loop_.After(kUnmountPatience, [this] { loop_.Stop(); });
}

// On a shard's thread.
void MountedFileSystem::OnClosed(Errno reason) {
  if (reason != Errno(ENODEV)) Log(LogLevel::kError, "/dev/fuse: ", reason.ToString());
  loop_.Stop();
}

// On a shard's thread. A lock that waits is given up at once. Other requests have their answer
// soon, unless the server is lost; then, too, a caller must not be held for ever.
void MountedFileSystem::OnInterrupt(uint64_t unique) {
  if (auto wait = tables_->lock_waits.Interrupt(unique)) {
    shards_[wait->shard]->CancelWait(wait->token);
    return;
  }
  loop_.Post([this] {
    if (std::exchange(looks_left_, kLooksForLoss) == 0)
      loop_.After(kLookInterval, [this] { FreeInterrupted(); });
  });
}

// Goes on from the shard `index`, through `left` more, back to where it began. Between a task and
// one that it posts, a loop handles what has come: by the ring, a request may have come and not
// been looked at.
void MountedFileSystem::VisitShards(size_t index, size_t left, EventLoop::Task task) {
  if (left == 0) return task();
  const size_t next = (index + 1) % shards_.size();
  EventLoop& loop = shards_[next]->loop();
  loop.Post([this, &loop, next, left, task = std::move(task)]() mutable {
    loop.Post([this, next, left, task = std::move(task)]() mutable {
      VisitShards(next, left - 1, std::move(task));
    });
  });
}

// Looks, for as long as a loss may take to be noticed, whether the interrupted ones wait for a lost
// server.
void MountedFileSystem::FreeInterrupted() {
  --looks_left_;
  if (source_->IsLost()) {
    looks_left_ = 0;
    for (uint64_t unique : tables_->lock_waits.TakeInterrupted()) {
      for (auto& shard : shards_) shard->GiveUp(unique);
    }
  }
  if (looks_left_ != 0) loop_.After(kLookInterval, [this] { FreeInterrupted(); });
}

// While the server is lost, and always with the ring, on which the kernel may forget an interrupt.
void MountedFileSystem::LookAfterCallers() {
  if (settings_.over_io_uring || source_->IsLost()) {
    for (auto& shard : shards_) shard->LookAfterCallers();
  }
  loop_.After(Context::kInterruptPatience, [this] { LookAfterCallers(); });
}

void MountedFileSystem::OpenControlSocket() {
  auto path = MakeControlPath(run_directory_, "rdmafs");
  absl::Status status = path.status();
  if (path.ok()) {
    auto control = ControlSocket::Listen(loop_, *path, [this](std::string_view command) {
      return AnswerControl(command, [this] {
        return DescribeMount(options_, settings_, shards_, pools_, *source_,
                             clock_.Now() - mounted_at_);
      });
    });
    status = control.status();
    if (control.ok()) control_ = *std::move(control);
  }
  if (!status.ok()) Log(LogLevel::kWarning, "no control socket: ", status.message());
}

void MountedFileSystem::Serve() {
  Log(LogLevel::kNotice, options_.source, " is mounted on ", options_.mount_point,
      settings_.over_io_uring ? " (FUSE over io_uring)" : "", read_only_ ? ", read only" : "");
  LookAfterCallers();
  loop_.Run();
  Log(LogLevel::kNotice, options_.mount_point, " is unmounted");
}

void MountedFileSystem::End() {
  control_.reset();
  if (mount_ != nullptr) mount_->Unmount();
  for (auto& shard : shards_) shard->StopServing(kReleasePatience);
  source_->Shutdown();  // reads are answered, so no page is waited for
  page_drops_.reset();
  mount_.reset();
  shards_.clear();
}

absl::Status MountAndServe(const MountOptions& options, const SourceFactory& make_source,
                           Launch& launch) {
  if (absl::Status status = CheckMountPoint(options.mount_point); !status.ok()) return status;
  MountedFileSystem mounted(options, make_source);
  if (absl::Status status = mounted.Connect(); !status.ok()) return status;
  if (absl::Status status = mounted.Mount(); !status.ok()) return status;
  if (!launch.Report(absl::OkStatus()))
    return absl::CancelledError("whoever started the mount has gone");
  mounted.Serve();
  return absl::OkStatus();
}

}  // namespace

int RunMount(const MountOptions& given, const SourceFactory& make_source) {
  MountOptions options = given;
  // The background process changes its directory.
  if (char* absolute = ::realpath(options.mount_point.c_str(), nullptr)) {
    options.mount_point = absolute;
    ::free(absolute);
  }
  if (options.key_file.empty()) options.key_file = auth::kDefaultKeyFile;
  std::error_code ignored;  // then opening it says what is wrong
  for (std::string* file : {&options.key_file, &options.tls.ca_file, &options.tls.certificate_file,
                            &options.tls.private_key_file}) {
    if (!file->empty()) *file = std::filesystem::absolute(*file, ignored).string();
  }
  Launch launch = Launch::Begin(options.foreground, kLaunchPatience);
  OpenLog("rdmafs", options.foreground ? LogTarget::kStandardError : LogTarget::kSyslog,
          options.log_level);
  const absl::Status status = MountAndServe(options, make_source, launch);
  if (status.ok()) return 0;
  if (!options.foreground) Log(LogLevel::kError, status.message());
  launch.Report(status);
  return 1;
}

int RunMountProgram(int argc, char** argv, const SourceFactory& make_source) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  const absl::StatusOr<MountOptions> options = ParseArguments(arguments);
  if (!options.ok()) {
    std::fprintf(stderr, "rdmafs: %s\n", std::string(options.status().message()).c_str());
    return 1;
  }
  if (options->help) return std::fputs(HelpText().c_str(), stdout) < 0 ? 1 : 0;
  if (options->version) return std::puts("rdmafs " RDMAFS_VERSION) < 0 ? 1 : 0;
  return RunMount(*options, make_source);
}

}  // namespace rdmafs::fuse
