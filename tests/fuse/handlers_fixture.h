// HandlersTest: the handlers of a shard, on a directory, against a channel that remembers the
// answers.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "fuse/dispatcher.h"
#include "fuse/init.h"
#include "tests/fuse/local_file_system.h"

namespace rdmafs::fuse {

class RecordingChannel final : public Channel {
 public:
  struct Answer {
    Errno error;
    std::string bytes;
  };
  Errno Start(RequestSink&) override { return kOk; }
  void Stop() override {}
  Errno Reply(const Ticket& ticket, Errno error, absl::Span<const std::byte> head,
              absl::Span<const std::byte> data) override {
    std::string bytes(reinterpret_cast<const char*>(head.data()), head.size());
    bytes.append(reinterpret_cast<const char*>(data.data()), data.size());
    answers.emplace(ticket.unique, Answer{error, bytes});
    return refusal;
  }
  absl::Span<const std::byte> GiveUp(uint64_t unique, bool& answered) override {
    if (!held.empty()) return held;
    answered = Reply({.unique = unique}, Errno(EINTR), {}, {}).ok();
    return {};
  }
  Errno Notify(fuse_notify_code code, absl::Span<const std::byte>,
               absl::Span<const std::byte> data) override {
    ++notifications[code];
    if (!refused_notification.ok()) return refused_notification;
    if (code == FUSE_NOTIFY_STORE)
      stored.emplace_back(reinterpret_cast<const char*>(data.data()), data.size());
    return kOk;
  }

  std::multimap<uint64_t, Answer> answers;
  std::map<int, int> notifications;
  std::vector<std::string> stored;   // in the page cache
  absl::Span<const std::byte> held;  // memory that the request given up is answered from
  Errno refused_notification;
  Errno refusal;                     // what the kernel says to every answer
};

class HandlersTest : public ::testing::Test {
 protected:
  HandlersTest() {
    char path[] = "/dev/shm/rdmafs-handlers-XXXXXX";
    CHECK(::mkdtemp(path) != nullptr);
    path_ = path;
    directory_ = std::make_unique<LocalDirectory>(path_);
    file_system_ = std::make_unique<LocalFileSystem>(*directory_, loop_);
    nodes_ = std::make_unique<NodeTable>(directory_->root().handle);
    settings_.setxattr_extended = true;
    ServeFrom(*file_system_);
  }
  ~HandlersTest() override { std::filesystem::remove_all(path_); }

  // From now on requests are served from there.
  void ServeFrom(FileSystem& file_system) {
    context_ = std::make_unique<Context>(Context::Parts{.loop = loop_,
                                                        .channel = channel_,
                                                        .file_system = file_system,
                                                        .nodes = *nodes_,
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
                                                        .server_is_lost = server_is_lost_});
    dispatcher_ = std::make_unique<Dispatcher>(*context_, [](Errno) {});
  }

  // Sends a request with these arguments; returns its number.
  uint64_t Send(uint32_t opcode, uint64_t node_id, std::string_view arguments) {
    Buffer block = pool_.Take();
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + arguments.size());
    header.opcode = opcode;
    header.unique = ++unique_;
    header.nodeid = node_id;
    header.uid = uid_;
    std::byte* const start = block.data() - kWritePrefixBytes;
    std::memcpy(start, &header, sizeof header);
    std::memcpy(start + sizeof header, arguments.data(), arguments.size());
    auto request = ParseRequest({start, header.len});
    CHECK(request.has_value());
    request->block = std::move(block);
    request->ticket.start = clock_.Now();
    dispatcher_->OnRequest(*request);
    return unique_;
  }
  RecordingChannel::Answer OnlyAnswer(uint64_t unique) {
    EXPECT_EQ(channel_.answers.count(unique), 1u);
    auto found = channel_.answers.find(unique);
    return found == channel_.answers.end() ? RecordingChannel::Answer{Errno(ENODATA), ""}
                                           : found->second;
  }
  template <typename T>
  T As(const RecordingChannel::Answer& answer) {
    T value{};
    EXPECT_TRUE(answer.error.ok()) << answer.error.ToString();
    EXPECT_EQ(answer.bytes.size(), sizeof value);
    std::memcpy(&value, answer.bytes.data(), std::min(sizeof value, answer.bytes.size()));
    return value;
  }

  std::string path_;
  MonotonicClock clock_;
  EventLoop loop_{clock_};
  Arena arena_;
  BufferPool pool_{arena_, {.cap_bytes = size_t{4} << 20}};
  RecordingChannel channel_;
  std::unique_ptr<LocalDirectory> directory_;
  std::unique_ptr<LocalFileSystem> file_system_;
  std::unique_ptr<NodeTable> nodes_;
  OpenFiles open_files_;
  DirectoryAttributes directories_;
  LockWaits lock_waits_;
  LockReleases lock_releases_;
  PageReads page_reads_;
  Settings settings_;
  OperationStatistics statistics_{kMaxOpcode};
  std::function<void(uint64_t)> interrupt_ = [this](uint64_t unique) {
    if (auto wait = lock_waits_.Interrupt(unique)) file_system_->CancelLock(wait->token);
  };
  std::function<void(EventLoop::Task)> after_all_shards_ = [this](EventLoop::Task task) {
    loop_.Post(std::move(task));
  };
  std::vector<uint64_t> dropped_;  // the nodes whose pages the kernel was made to drop
  std::function<void(uint64_t, EventLoop::Task)> drop_pages_ = [this](uint64_t node_id,
                                                                      EventLoop::Task then) {
    dropped_.push_back(node_id);
    loop_.Post(std::move(then));
  };
  bool lost_ = false;
  std::function<bool()> server_is_lost_ = [this] { return lost_; };
  std::unique_ptr<Context> context_;
  std::unique_ptr<Dispatcher> dispatcher_;
  uint64_t unique_ = 0;
  uint32_t uid_ = 0;  // of whoever asks
};

template <typename T>
std::string Bytes(const T& value, std::string_view behind = {}) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value) + std::string(behind);
}

inline constexpr std::string_view kNameX("x\0", 2);

struct Created {
  fuse_entry_out entry;
  fuse_open_out open;
};

class HandlersOnAFile : public HandlersTest {
 protected:
  HandlersOnAFile() {
    const auto created = As<Created>(OnlyAnswer(Send(
        FUSE_CREATE, 1, Bytes(fuse_create_in{.flags = O_RDWR, .mode = S_IFREG | 0644}, kNameX))));
    node_ = created.entry.nodeid;
    fh_ = created.open.fh;
  }
  uint64_t Write(std::string_view data, uint32_t claimed_size) {
    return Send(FUSE_WRITE, node_, Bytes(fuse_write_in{.fh = fh_, .size = claimed_size}, data));
  }
  uint64_t node_ = 0, fh_ = 0;
};

}  // namespace rdmafs::fuse
