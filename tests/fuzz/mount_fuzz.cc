// Fuzz target: a server that answers a mount anything, at any time; and a kernel that asks
// anything.
//
// The input is a run of steps: kind, three small numbers, two sizes (u16), and then the bytes that
// the step takes. What a transport looks at before it believes a reply has been passed
// (HostileServer does the same); everything behind that is the input's.
#include <cstring>
#include <map>
#include <set>

#include "client/remote_file_system.h"
#include "client/stack.h"
#include "fuse/dispatcher.h"
#include "tests/fuzz/hostile_server.h"
#include "transport/base/log.h"

namespace rdmafs::fuse {
namespace {

enum StepKind : uint8_t { kRequest, kReply, kLose, kRun, kStepKinds };

struct Step {
  uint8_t kind, a, b, c;
  uint16_t size, more;
};
static_assert(sizeof(Step) == 8);

struct Surroundings {
  MonotonicClock clock;
  Arena arena;
  BufferPool messages{arena, {.payload_bytes = 8192, .headroom_bytes = 0, .tailroom_bytes = 0,
                              .cap_bytes = size_t{2} << 20, .slab_bytes = size_t{2} << 20}};
  BufferPool blocks{arena, {.cap_bytes = size_t{16} << 20, .slab_bytes = size_t{4} << 20}};
};

// The kernel's side: each request is answered at most once, with no more than was asked for.
class StrictKernel final : public Channel {
 public:
  Errno Start(RequestSink&) override { return kOk; }
  void Stop() override {}
  Errno Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
              absl::Span<const std::byte> data) override {
    const auto asked = room_.find(ticket.unique);
    CHECK(asked != room_.end());  // else it was answered before
    CHECK(error.value() >= 0 && error.value() < 512);  // fs/fuse/dev.c takes no other
    CHECK(error.ok() || (head.empty() && data.empty()));
    CHECK(head.size() + data.size() <= asked->second);
    for (std::byte b : data) sum_ += static_cast<unsigned>(b);  // it can be read
    room_.erase(asked);
    return kOk;
  }
  absl::Span<const std::byte> GiveUp(uint64_t unique, bool& answered) override {
    answered = room_.erase(unique) != 0;
    return {};
  }
  Errno Notify(fuse_notify_code, absl::Span<const std::byte>,
               absl::Span<const std::byte>) override {
    return kOk;
  }

  void Expect(uint64_t unique, size_t room) { room_[unique] = room; }
  void Forget(uint64_t unique) { room_.erase(unique); }
  size_t unanswered() const { return room_.size(); }

 private:
  std::map<uint64_t, size_t> room_;  // bytes that its caller has made for the answer
  unsigned sum_ = 0;
};

class OneMount final : public CallChannel::Owner {
 public:
  explicit OneMount(Surroundings& surroundings) : surroundings_(surroundings) { Connect(); }

  ~OneMount() {
    ending_ = true;
    for (HostileServer* server : servers_) {
      if (server != nullptr) server->Close(absl::CancelledError("end of the input"));
    }
    Run();
    remote_.reset();  // what is still asked is answered through the layers
    Run();
    CHECK(kernel_.unanswered() == 0);
    CHECK(HostileServer::messages_kept() == 0);
  }

  void OnChannelLost(CallChannel& channel, const absl::Status&) override {
    for (size_t i = 0; i < kChannels; ++i) {
      if (&remote_->channel(i) == &channel) servers_[i] = nullptr;
    }
  }

  void Ask(const Step& step, absl::Span<const std::byte> arguments) {
    Buffer block = surroundings_.blocks.Take();
    if (!block) return;  // a channel waits for one
    fuse_in_header header{};
    arguments = arguments.first(std::min(arguments.size(), block.size()));
    header.len = static_cast<uint32_t>(sizeof header + arguments.size());
    header.opcode = step.a;
    header.unique = ++unique_;
    header.nodeid = step.b;
    std::byte* const start = block.data() - kWritePrefixBytes;
    std::memcpy(start, &header, sizeof header);
    if (!arguments.empty()) std::memcpy(start + sizeof header, arguments.data(), arguments.size());
    auto request = ParseRequest({start, header.len});
    CHECK(request.has_value());
    request->block = std::move(block);
    request->ticket.start = surroundings_.clock.Now();
    kernel_.Expect(unique_, wire::kMaxPayloadBytes + 4096);
    if (step.a == FUSE_READ || step.a == FUSE_READDIR || step.a == FUSE_READDIRPLUS) {
      fuse_read_in in{};
      Arguments reader(request->arguments);
      if (reader.Take(in)) kernel_.Expect(unique_, in.size);
    }
    if (step.a == FUSE_FORGET || step.a == FUSE_BATCH_FORGET || step.a == FUSE_INTERRUPT)
      kernel_.Forget(unique_);
    dispatcher_.OnRequest(*request);
  }

  void Answer(const Step& step, absl::Span<const std::byte> bytes) {
    HostileServer* const server = servers_[step.a % kChannels];
    if (server == nullptr) return;
    const size_t body = std::min<size_t>(bytes.size(), step.more % (wire::kMaxBodyBytes + 1));
    server->Answer({.which = step.b,
                    .status = step.c,
                    .body = bytes.first(body),
                    .rest = bytes.subspan(body),
                    .in_sink = (step.a & 0x80) != 0});
  }

  void Lose(const Step& step) {
    HostileServer* const server = servers_[step.a % kChannels];
    if (server != nullptr) server->Close(absl::UnavailableError("lost"));
    Run();
    session_ += step.b & 1;
    Connect();
  }

  void Run() {
    for (int i = 0; i < 4; ++i) loop_.RunOnce(0);
  }

 private:
  static constexpr size_t kChannels = 2;

  void Connect() {
    for (size_t i = 0; i < kChannels && !ending_; ++i) {
      if (servers_[i] != nullptr) continue;
      auto server = std::make_unique<HostileServer>();
      servers_[i] = server.get();
      remote_->channel(i).Connect(std::move(server));
      remote_->channel(i).Resume(wire::kDefaultCredits, {session_, 1});
    }
  }

  Surroundings& surroundings_;
  EventLoop loop_{surroundings_.clock};
  StrictKernel kernel_;
  OpenTable open_table_;
  InodeVersions versions_;
  ReadAheadFiles files_{
      versions_, SharedReadAhead({.mode = ReadAheadMode::kOn}, surroundings_.blocks.options(), 1)};
  HostileServer* servers_[kChannels] = {};
  uint64_t session_ = 1;
  bool ending_ = false;
  NodeTable nodes_{wire::FileHandle()};
  OpenFiles open_files_;
  DirectoryAttributes directories_;
  LockWaits lock_waits_;
  LockReleases lock_releases_;
  PageReads page_reads_;
  Settings settings_{.fills_pages = true};
  OperationStatistics statistics_{kMaxOpcode};
  std::unique_ptr<RemoteFileSystem> remote_ = std::make_unique<RemoteFileSystem>(
      loop_, *this, surroundings_.messages, open_table_, static_cast<int>(kChannels));
  Stack stack_ = BuildStack({*remote_, loop_, surroundings_.blocks, files_},
                            {{.mode = ReadAheadMode::kOn}, {}});
  std::function<void(uint64_t)> interrupt_ = [this](uint64_t unique) {
    if (auto wait = lock_waits_.Interrupt(unique)) return stack_.top().CancelLock(wait->token);
    context_.GiveUp(unique);
  };
  std::function<void(EventLoop::Task)> after_all_shards_ = [this](EventLoop::Task task) {
    loop_.Post(std::move(task));
  };
  std::function<void(uint64_t, EventLoop::Task)> drop_pages_ =
      [this](uint64_t, EventLoop::Task then) { loop_.Post(std::move(then)); };
  std::function<bool()> server_is_lost_ = [this] { return !remote_->channel(0).IsConnected(); };
  Context context_{{.loop = loop_,
                    .channel = kernel_,
                    .file_system = stack_.top(),
                    .nodes = nodes_,
                    .open_files = open_files_,
                    .directories = directories_,
                    .lock_waits = lock_waits_,
                    .lock_releases = lock_releases_,
                    .page_reads = page_reads_,
                    .settings = settings_,
                    .statistics = statistics_,
                    .shard = 0,
                    .interrupt = interrupt_,
                    .after_all_shards = after_all_shards_,
                    .drop_pages = drop_pages_,
                    .server_is_lost = server_is_lost_}};
  Dispatcher dispatcher_{context_, [](Errno) {}};
  uint64_t unique_ = 0;
};

}  // namespace
}  // namespace rdmafs::fuse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rdmafs::fuse;
  static Surroundings* surroundings = [] {
    rdmafs::OpenLog("mount_fuzz", rdmafs::LogTarget::kStandardError,
                    static_cast<rdmafs::LogLevel>(0));
    return new Surroundings;
  }();
  {
    OneMount mount(*surroundings);
    Step step;
    while (size >= sizeof step) {
      std::memcpy(&step, data, sizeof step);
      data += sizeof step;
      size -= sizeof step;
      const absl::Span<const std::byte> bytes{reinterpret_cast<const std::byte*>(data),
                                              std::min<size_t>(step.size % 8192, size)};
      switch (step.kind % kStepKinds) {
        case kRequest: mount.Ask(step, bytes); break;
        case kReply: mount.Answer(step, bytes); break;
        case kLose: mount.Lose(step); break;
        default: mount.Run(); continue;
      }
      data += bytes.size();
      size -= bytes.size();
    }
  }
  CHECK(surroundings->blocks.statistics().used_count == 0);
  CHECK(surroundings->messages.statistics().used_count == 0);
  return 0;
}
