// Requests of the kernel, whole and broken, against a channel that remembers the answers.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>

#include "fuse/dispatcher.h"
#include "fuse/init.h"
#include "tests/fuse/local_file_system.h"

namespace rdmafs::fuse {
namespace {

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
  Errno Notify(fuse_notify_code code, absl::Span<const std::byte>) override {
    ++notifications[code];
    return kOk;
  }

  std::multimap<uint64_t, Answer> answers;
  std::map<int, int> notifications;
  absl::Span<const std::byte> held;  // memory that the request given up is answered from
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
    context_ = std::make_unique<Context>(Context::Parts{.loop = loop_,
                                                        .channel = channel_,
                                                        .file_system = *file_system_,
                                                        .nodes = *nodes_,
                                                        .open_files = open_files_,
                                                        .lock_waits = lock_waits_,
                                                        .lock_releases = lock_releases_,
                                                        .settings = settings_,
                                                        .statistics = statistics_,
                                                        .shard = 0,
                                                        .interrupt = interrupt_,
                                                        .after_all_shards = after_all_shards_});
    dispatcher_ = std::make_unique<Dispatcher>(*context_, [](Errno) {});
  }
  ~HandlersTest() override { std::filesystem::remove_all(path_); }

  // Sends a request with these arguments; returns its number.
  uint64_t Send(uint32_t opcode, uint64_t node_id, std::string_view arguments) {
    Buffer block = pool_.Take();
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + arguments.size());
    header.opcode = opcode;
    header.unique = ++unique_;
    header.nodeid = node_id;
    std::byte* const start = block.data() - kWritePrefixBytes;
    std::memcpy(start, &header, sizeof header);
    std::memcpy(start + sizeof header, arguments.data(), arguments.size());
    auto request = ParseRequest({start, header.len});
    CHECK(request.has_value());
    request->block = std::move(block);
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
  LockWaits lock_waits_;
  LockReleases lock_releases_;
  Settings settings_;
  OperationStatistics statistics_{kMaxOpcode};
  std::function<void(uint64_t)> interrupt_ = [this](uint64_t unique) {
    if (auto wait = lock_waits_.Interrupt(unique)) file_system_->CancelLock(wait->token);
  };
  std::function<void(EventLoop::Task)> after_all_shards_ = [this](EventLoop::Task task) {
    loop_.Post(std::move(task));
  };
  std::unique_ptr<Context> context_;
  std::unique_ptr<Dispatcher> dispatcher_;
  uint64_t unique_ = 0;
};

template <typename T>
std::string Bytes(const T& value, std::string_view behind = {}) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value) + std::string(behind);
}

constexpr std::string_view kNameX("x\0", 2);

TEST_F(HandlersTest, ARequestCutOffAnywhereIsAnsweredOnceAndHarmsNothing) {
  const std::string full(200, '\1');  // no NUL, no number that names anything
  for (uint32_t opcode = 0; opcode <= kMaxOpcode + 1; ++opcode) {
    const bool silent =
        opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
    for (size_t size = 0; size < full.size(); size += 3) {
      const uint64_t unique = Send(opcode, NodeTable::kRootId, full.substr(0, size));
      ASSERT_EQ(channel_.answers.count(unique), silent ? 0u : 1u)
          << "opcode " << opcode << " size " << size;
    }
  }
  EXPECT_EQ(pool_.statistics().used_count, 0u);
}

TEST_F(HandlersTest, ARequestThatWasGivenUpHasItsAnswerAndGetsNoOther) {
  Ticket ticket;
  ticket.unique = 77;
  context_->GiveUp(77);
  EXPECT_EQ(OnlyAnswer(77).error, Errno(EINTR));
  EXPECT_FALSE(context_->Answer(ticket, kOk));
  EXPECT_EQ(OnlyAnswer(77).error, Errno(EINTR));
}

TEST_F(HandlersTest, ARequestWhoseMemoryIsInUseIsAnsweredWhenItsOperationWasGivenUp) {
  const Buffer block = pool_.Take();
  channel_.held = block.payload();
  context_->GiveUp(78);
  EXPECT_EQ(channel_.answers.count(78), 0u);
  Ticket ticket;
  ticket.unique = 78;
  EXPECT_TRUE(context_->Answer(ticket, Errno(EINTR)));
  EXPECT_EQ(OnlyAnswer(78).error, Errno(EINTR));
}

TEST_F(HandlersTest, InterruptsOfOtherRequestsThanLocksAreKeptForALostServer) {
  Send(FUSE_INTERRUPT, 0, Bytes(fuse_interrupt_in{41}));
  EXPECT_EQ(lock_waits_.TakeInterrupted(), std::vector<uint64_t>{41});
  EXPECT_TRUE(lock_waits_.TakeInterrupted().empty());
}

TEST_F(HandlersTest, NamesThatAreNoComponentOfAPathAreRefused) {
  for (std::string_view name : {std::string_view("a/b\0", 4), std::string_view("..\0", 3),
                                std::string_view(".\0", 2), std::string_view("\0", 1)}) {
    EXPECT_EQ(OnlyAnswer(Send(FUSE_LOOKUP, 1, name)).error, Errno(EINVAL));
  }
}

TEST_F(HandlersTest, AnUnknownNodeIsStaleAndAnUnknownFileIsBad) {
  EXPECT_EQ(OnlyAnswer(Send(FUSE_LOOKUP, 4711, kNameX)).error, Errno(ESTALE));
  EXPECT_EQ(OnlyAnswer(Send(FUSE_READ, 1, Bytes(fuse_read_in{.fh = 4711, .size = 10}))).error,
            Errno(EBADF));
}

TEST_F(HandlersTest, AnUnknownRequestIsNotImplemented) {
  for (uint32_t opcode : {uint32_t{FUSE_IOCTL}, uint32_t{FUSE_BMAP}, 63u, 64u, 4096u, ~0u}) {
    EXPECT_EQ(OnlyAnswer(Send(opcode, 1, "")).error, Errno(ENOSYS));
  }
}

TEST_F(HandlersTest, AMissingNameIsAnErrorOrWithATimeoutAnEntryWithoutANode) {
  EXPECT_EQ(OnlyAnswer(Send(FUSE_LOOKUP, 1, kNameX)).error, Errno(ENOENT));
  settings_.negative_timeout = 2 * kSecond + 5;
  const auto entry = As<fuse_entry_out>(OnlyAnswer(Send(FUSE_LOOKUP, 1, kNameX)));
  EXPECT_EQ(entry.nodeid, 0u);
  EXPECT_EQ(entry.entry_valid, 2u);
  EXPECT_EQ(entry.entry_valid_nsec, 5u);
}

struct Created {
  fuse_entry_out entry;
  fuse_open_out open;
};

TEST_F(HandlersTest, WhatTheKernelDidNotTakeIsUndone) {
  channel_.refusal = Errno(ENOENT);
  Send(FUSE_CREATE, 1, Bytes(fuse_create_in{.flags = O_RDWR, .mode = S_IFREG | 0644}, kNameX));
  EXPECT_EQ(nodes_->count(), 1u);
  EXPECT_EQ(open_files_.count(), 0u);
  EXPECT_EQ(directory_->open_count(), 0u);
  Send(FUSE_LOOKUP, 1, kNameX);
  EXPECT_EQ(nodes_->count(), 1u);
}

TEST_F(HandlersTest, LookupsOfADirectoryListingThatTheKernelDidNotTakeAreTakenBack) {
  Send(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}, kNameX));
  const auto open = As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPENDIR, 1, Bytes(fuse_open_in{}))));
  Send(FUSE_FORGET, 2, Bytes(fuse_forget_in{.nlookup = 1}));
  ASSERT_EQ(nodes_->count(), 1u);
  const std::string read = Bytes(fuse_read_in{.fh = open.fh, .size = 4096});
  Send(FUSE_READDIRPLUS, 1, read);
  EXPECT_EQ(nodes_->count(), 2u);
  Send(FUSE_FORGET, 2, Bytes(fuse_forget_in{.nlookup = 1}));
  channel_.refusal = Errno(ENOENT);
  Send(FUSE_READDIRPLUS, 1, read);
  EXPECT_EQ(nodes_->count(), 1u);
}

TEST_F(HandlersTest, DotAndDotDotAreListedWithoutANode) {
  const auto open = As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPENDIR, 1, Bytes(fuse_open_in{}))));
  const auto answer =
      OnlyAnswer(Send(FUSE_READDIRPLUS, 1, Bytes(fuse_read_in{.fh = open.fh, .size = 4096})));
  fuse_direntplus record;
  size_t at = 0, count = 0;
  for (; at + FUSE_NAME_OFFSET_DIRENTPLUS < answer.bytes.size(); ++count) {
    std::memcpy(&record, answer.bytes.data() + at, FUSE_NAME_OFFSET_DIRENTPLUS);
    EXPECT_EQ(record.entry_out.nodeid, 0u);
    at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + record.dirent.namelen);
  }
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(nodes_->count(), 1u);
}

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

TEST_F(HandlersOnAFile, AWriteWhoseSizeIsNotThatOfItsDataIsRefused) {
  for (uint32_t size : {0u, 2u, 4u, ~0u})
    EXPECT_EQ(OnlyAnswer(Write("abc", size)).error, Errno(EINVAL));
  EXPECT_EQ(As<fuse_write_out>(OnlyAnswer(Write("abc", 3))).size, 3u);
}

TEST_F(HandlersOnAFile, ReadsOfEverySizeGiveTheBytesAndTheirBlocksBack) {
  const std::string data(100'000, 'z');
  ASSERT_EQ(As<fuse_write_out>(OnlyAnswer(Write(data, 100'000))).size, 100'000u);
  for (uint32_t size : {1u, 4096u, 4097u, 100'000u, wire::kMaxPayloadBytes}) {
    const auto answer =
        OnlyAnswer(Send(FUSE_READ, node_, Bytes(fuse_read_in{.fh = fh_, .size = size})));
    EXPECT_EQ(answer.bytes, data.substr(0, size));
  }
  EXPECT_EQ(pool_.statistics().used_count, 0u);
}

TEST_F(HandlersOnAFile, AReadOfMoreThanWeEverOfferIsRefused) {
  const auto answer = OnlyAnswer(
      Send(FUSE_READ, node_, Bytes(fuse_read_in{.fh = fh_, .size = wire::kMaxPayloadBytes + 1})));
  EXPECT_EQ(answer.error, Errno(EINVAL));
}

TEST_F(HandlersOnAFile, AnAttributeOfAnyLengthComesBackAsItWasSet) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{4097}, size_t{20'000}}) {
    const std::string value(size, 'v');
    const fuse_setxattr_in in{.size = static_cast<uint32_t>(size)};
    ASSERT_TRUE(
        OnlyAnswer(Send(FUSE_SETXATTR, node_, Bytes(in, std::string("trusted.a\0", 10) + value)))
            .error.ok());
    const std::string ask =
        Bytes(fuse_getxattr_in{.size = 65536}, std::string_view("trusted.a\0", 10));
    EXPECT_EQ(OnlyAnswer(Send(FUSE_GETXATTR, node_, ask)).bytes, value);
    const std::string ask_size = Bytes(fuse_getxattr_in{}, std::string_view("trusted.a\0", 10));
    EXPECT_EQ(As<fuse_getxattr_out>(OnlyAnswer(Send(FUSE_GETXATTR, node_, ask_size))).size, size);
  }
}

TEST_F(HandlersOnAFile, AWaitingLockDoesNotKeepItsBlockAndIsGivenUpByAnInterrupt) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  ASSERT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock))).error.ok());
  lock.owner = 2;
  const uint64_t waiting = Send(FUSE_SETLKW, node_, Bytes(lock));
  EXPECT_EQ(channel_.answers.count(waiting), 0u);
  EXPECT_EQ(pool_.statistics().used_count, 0u);
  Send(FUSE_INTERRUPT, 0, Bytes(fuse_interrupt_in{.unique = waiting}));
  loop_.RunOnce(0);
  EXPECT_EQ(OnlyAnswer(waiting).error, Errno(EINTR));
}

TEST_F(HandlersOnAFile, AnInterruptBeforeItsLockCancelsTheLock) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  Send(FUSE_SETLK, node_, Bytes(lock));
  lock.owner = 2;
  Send(FUSE_INTERRUPT, 0, Bytes(fuse_interrupt_in{.unique = unique_ + 2}));
  const uint64_t waiting = Send(FUSE_SETLKW, node_, Bytes(lock));
  loop_.RunOnce(0);
  EXPECT_EQ(OnlyAnswer(waiting).error, Errno(EINTR));
}

class HandlersOnALockedFile : public HandlersOnAFile {
 protected:
  HandlersOnALockedFile() { CHECK(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock_))).error.ok()); }
  void Unlock() { file_system_->ReleaseOwner(open_files_.Find(fh_), lock_.owner, [](Result<Unit>) {}); }
  // By another owner.
  uint64_t AskForLock(uint32_t opcode) {
    fuse_lk_in wanted = lock_;
    wanted.owner = 2;
    return Send(opcode, node_, Bytes(wanted));
  }
  bool IsAnswered(uint64_t unique) {
    for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
    return channel_.answers.count(unique) != 0;
  }
  const fuse_lk_in lock_{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
};

TEST_F(HandlersOnALockedFile, ALockThatIsInTheWayOfAnotherRefusesIt) {
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_EQ(OnlyAnswer(set).error, Errno(EAGAIN));
  EXPECT_EQ(As<fuse_lk_out>(OnlyAnswer(get)).lk.type, uint32_t{F_WRLCK});
}

TEST_F(HandlersOnALockedFile, WhatIsInTheWayIsWaitedForWhileItsFileIsBeingReleased) {
  lock_releases_.Begin(node_);
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  EXPECT_FALSE(IsAnswered(set) || IsAnswered(get));
  EXPECT_EQ(context_->releases_in_flight(), 2u);
  Unlock();
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_TRUE(OnlyAnswer(set).error.ok());
  EXPECT_EQ(context_->releases_in_flight(), 0u);
}

TEST_F(HandlersOnALockedFile, AReleaseThatEndsBeforeAnyoneLooksForItCounts) {
  const uint64_t set = AskForLock(FUSE_SETLK);
  lock_releases_.Begin(node_);
  Unlock();
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set));
  EXPECT_TRUE(OnlyAnswer(set).error.ok());
}

TEST_F(HandlersOnALockedFile, AReleaseThatFreesSomethingElseLeavesTheLockRefused) {
  lock_releases_.Begin(node_);
  const uint64_t set = AskForLock(FUSE_SETLK), get = AskForLock(FUSE_GETLK);
  lock_releases_.End(node_);
  ASSERT_TRUE(IsAnswered(set) && IsAnswered(get));
  EXPECT_EQ(OnlyAnswer(set).error, Errno(EAGAIN));
  EXPECT_EQ(As<fuse_lk_out>(OnlyAnswer(get)).lk.type, uint32_t{F_WRLCK});
}

TEST_F(HandlersOnALockedFile, AReleasedFileWithLocksIsNoLongerInTheWay) {
  const auto other = As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, Bytes(fuse_open_in{.flags = O_RDWR}))));
  Send(FUSE_RELEASE, node_, Bytes(fuse_release_in{.fh = fh_}));
  fuse_lk_in wanted = lock_;
  wanted.fh = other.fh;
  wanted.owner = 2;
  EXPECT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(wanted))).error.ok());
  EXPECT_EQ(lock_releases_.ended_count(), 1u);
}

TEST_F(HandlersOnAFile, AFlushGivesTheOwnersLocksUp) {
  fuse_lk_in lock{.fh = fh_, .owner = 1, .lk = {.start = 0, .end = 100, .type = F_WRLCK}};
  Send(FUSE_SETLK, node_, Bytes(lock));
  Send(FUSE_FLUSH, node_, Bytes(fuse_flush_in{.fh = fh_, .lock_owner = 1}));
  lock.owner = 2;
  EXPECT_TRUE(OnlyAnswer(Send(FUSE_SETLK, node_, Bytes(lock))).error.ok());
}

TEST_F(HandlersOnAFile, AFileThatChangedElsewhereMakesTheKernelAskAgainAtOpen) {
  const std::string open = Bytes(fuse_open_in{.flags = O_RDONLY});
  EXPECT_EQ(As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, open))).open_flags,
            uint32_t{FOPEN_KEEP_CACHE});
  EXPECT_EQ(channel_.notifications[FUSE_NOTIFY_INVAL_INODE], 0);
  ASSERT_EQ(::truncate((path_ + "/x").c_str(), 1234), 0);
  EXPECT_EQ(As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, open))).open_flags, 0u);
  EXPECT_EQ(channel_.notifications[FUSE_NOTIFY_INVAL_INODE], 1);
}

TEST(Negotiate, AnOldKernelIsRefusedInOneSentence) {
  EXPECT_FALSE(Negotiate(fuse_init_in{.major = 7, .minor = 30}, Settings()).ok());
  EXPECT_FALSE(Negotiate(fuse_init_in{.major = 8, .minor = 0}, Settings()).ok());
  EXPECT_TRUE(Negotiate(fuse_init_in{.major = 7, .minor = 31}, Settings()).ok());
}

TEST(Negotiate, OnlyWhatIsOfferedIsAskedFor) {
  const auto answer =
      Negotiate(fuse_init_in{.major = 7, .minor = 31, .flags = FUSE_ASYNC_READ}, Settings());
  EXPECT_EQ(answer->flags, uint32_t{FUSE_ASYNC_READ});
  EXPECT_EQ(answer->flags2, 0u);
  EXPECT_EQ(answer->minor, 31u);
}

TEST(Negotiate, OfAllThatIsOfferedSplicingAndTheWritebackCacheAreLeftOut) {
  const fuse_init_in offer{.major = 7, .minor = 45, .flags = ~0u, .flags2 = ~0u};
  const auto answer = Negotiate(offer, Settings());
  EXPECT_EQ(answer->flags & (FUSE_SPLICE_READ | FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE |
                             FUSE_WRITEBACK_CACHE | FUSE_HANDLE_KILLPRIV | FUSE_NO_OPEN_SUPPORT),
            0u);
  EXPECT_NE(answer->flags & FUSE_HANDLE_KILLPRIV_V2, 0u);
  EXPECT_EQ(answer->minor, kNewestMinor);
  EXPECT_EQ(answer->max_write, 1u << 20);
  EXPECT_EQ(answer->max_pages, 256);
  Settings writeback;
  writeback.writeback = true;
  EXPECT_NE(Negotiate(offer, writeback)->flags & FUSE_WRITEBACK_CACHE, 0u);
}

TEST(DeviceNumbers, ComeBackAsTheyWere) {
  for (auto [major, minor] : {std::pair{8u, 1u}, {0u, 0u}, {4095u, 1048575u}, {259u, 300u}}) {
    const uint32_t device = EncodeDevice(major, minor);
    EXPECT_EQ(DeviceMajor(device), major);
    EXPECT_EQ(DeviceMinor(device), minor);
  }
}

}  // namespace
}  // namespace rdmafs::fuse
