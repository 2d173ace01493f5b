// Requests of the kernel, whole and broken.
#include "client/layer.h"
#include "fuse/handlers.h"
#include "tests/fuse/handlers_fixture.h"

namespace rdmafs::fuse {
namespace {

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

TEST_F(HandlersTest, WithoutAServerTheRootIsShownAsItWasSeenLast) {
  const std::string arguments = Bytes(fuse_getattr_in{});
  const auto before =
      As<fuse_attr_out>(OnlyAnswer(Send(FUSE_GETATTR, NodeTable::kRootId, arguments)));
  ASSERT_EQ(::chmod(path_.c_str(), 0500), 0);
  lost_ = true;
  const auto meanwhile =
      As<fuse_attr_out>(OnlyAnswer(Send(FUSE_GETATTR, NodeTable::kRootId, arguments)));
  EXPECT_EQ(meanwhile.attr.ino, before.attr.ino);
  EXPECT_EQ(meanwhile.attr.mode, before.attr.mode);
  EXPECT_EQ(meanwhile.attr_valid + meanwhile.attr_valid_nsec, 0u);
  const auto nothing = As<fuse_statfs_out>(OnlyAnswer(Send(FUSE_STATFS, NodeTable::kRootId, "")));
  EXPECT_EQ(nothing.st.blocks, 0u);  // never seen
  EXPECT_EQ(nothing.st.namelen, 255u);
  lost_ = false;
  const auto space = As<fuse_statfs_out>(OnlyAnswer(Send(FUSE_STATFS, NodeTable::kRootId, "")));
  ASSERT_NE(space.st.blocks, 0u);
  lost_ = true;
  const auto seen = As<fuse_statfs_out>(OnlyAnswer(Send(FUSE_STATFS, NodeTable::kRootId, "")));
  EXPECT_EQ(seen.st.blocks, space.st.blocks);
  lost_ = false;
  const auto after =
      As<fuse_attr_out>(OnlyAnswer(Send(FUSE_GETATTR, NodeTable::kRootId, arguments)));
  EXPECT_EQ(after.attr.mode, static_cast<uint32_t>(S_IFDIR | 0500));
}

TEST_F(HandlersOnAFile, TheKernelIsToldToAskForAModeThatAWriteMayHaveChanged) {
  const auto told = [this] { return channel_.notifications[FUSE_NOTIFY_INVAL_INODE]; };
  const auto write = [this](uint32_t flags) {
    const fuse_write_in in{.fh = fh_, .size = 1, .write_flags = flags};
    EXPECT_TRUE(OnlyAnswer(Send(FUSE_WRITE, node_, Bytes(in, "x"))).error.ok());
  };
  const auto change_mode = [this](uint32_t mode) {
    const fuse_setattr_in in{.valid = FATTR_MODE, .mode = S_IFREG | mode};
    EXPECT_TRUE(OnlyAnswer(Send(FUSE_SETATTR, node_, Bytes(in))).error.ok());
  };
  write(FUSE_WRITE_KILL_SUIDGID);
  EXPECT_EQ(told(), 0);  // 0644
  change_mode(04755);
  write(0);
  EXPECT_EQ(told(), 0);
  write(FUSE_WRITE_KILL_SUIDGID);
  EXPECT_EQ(told(), 1);
  write(FUSE_WRITE_KILL_SUIDGID);
  EXPECT_EQ(told(), 1);  // it has none in its cache
  OnlyAnswer(Send(FUSE_GETATTR, node_, Bytes(fuse_getattr_in{})));  // it asks
  change_mode(02755);
  OnlyAnswer(Send(FUSE_FALLOCATE, node_, Bytes(fuse_fallocate_in{.fh = fh_, .length = 4096})));
  EXPECT_EQ(told(), 2);
}

// A server that has fallen silent, and is found to be lost later.
class HandlersOverASilentServer : public HandlersTest {
 protected:
  class Silent final : public Layer {
   public:
    using Layer::Layer;
    void GetAttr(const Caller&, const FileHandle&, OpenId, Reply<Attributes> reply) override {
      attributes.push_back(std::move(reply));
    }
    void StatFs(const Caller&, const FileHandle&, Reply<FileSystemStatistics> reply) override {
      statistics.push_back(std::move(reply));
    }
    std::vector<Reply<Attributes>> attributes;
    std::vector<Reply<FileSystemStatistics>> statistics;
  };

  HandlersOverASilentServer() {
    nodes_->SeeRoot(Attributes{.ino = 7, .mode = S_IFDIR | 0755});
    nodes_->SeeRoot(FileSystemStatistics{.blocks = 1000});
    ServeFrom(silent_);
  }

  Silent silent_{*file_system_};
};

TEST_F(HandlersOverASilentServer, WhoAskedForTheRootBeforeItWasLostIsShownWhatWasSeenLast) {
  const uint64_t attributes = Send(FUSE_GETATTR, NodeTable::kRootId, Bytes(fuse_getattr_in{}));
  const uint64_t space = Send(FUSE_STATFS, NodeTable::kRootId, "");
  EXPECT_TRUE(channel_.answers.empty());
  lost_ = true;
  AnswerRootQuestions(*context_);
  const auto shown = As<fuse_attr_out>(OnlyAnswer(attributes));
  EXPECT_EQ(shown.attr.mode, static_cast<uint32_t>(S_IFDIR | 0755));
  EXPECT_EQ(shown.attr_valid + shown.attr_valid_nsec, 0u);
  EXPECT_EQ(As<fuse_statfs_out>(OnlyAnswer(space)).st.blocks, 1000u);
  AnswerRootQuestions(*context_);
  EXPECT_EQ(channel_.answers.size(), 2u);

  // The server is back, and its answers are for nobody.
  lost_ = false;
  silent_.attributes[0].Complete(Attributes{.ino = 7, .mode = S_IFDIR | 0700});
  silent_.statistics[0].Complete(FileSystemStatistics{.blocks = 2000});
  EXPECT_EQ(channel_.answers.size(), 2u);
  const uint64_t again = Send(FUSE_GETATTR, NodeTable::kRootId, Bytes(fuse_getattr_in{}));
  silent_.attributes[1].Complete(Attributes{.ino = 7, .mode = S_IFDIR | 0700});
  EXPECT_EQ(As<fuse_attr_out>(OnlyAnswer(again)).attr.mode, static_cast<uint32_t>(S_IFDIR | 0700));
}

TEST_F(HandlersOverASilentServer, WhoWasInterruptedOrAnsweredIsNotAnsweredOnceMore) {
  const uint64_t interrupted = Send(FUSE_GETATTR, NodeTable::kRootId, Bytes(fuse_getattr_in{}));
  const uint64_t answered = Send(FUSE_STATFS, NodeTable::kRootId, "");
  silent_.statistics[0].Complete(FileSystemStatistics{.blocks = 2000});
  lost_ = true;
  context_->GiveUp(interrupted);
  AnswerRootQuestions(*context_);
  EXPECT_EQ(OnlyAnswer(interrupted).error, Errno(EINTR));
  EXPECT_EQ(As<fuse_statfs_out>(OnlyAnswer(answered)).st.blocks, 2000u);
  silent_.attributes[0].Complete(Errno(ENOTCONN));
  EXPECT_EQ(channel_.answers.size(), 2u);
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

class HandlersAtOpen : public HandlersOnAFile {
 protected:
  fuse_open_out Open() {
    const std::string open = Bytes(fuse_open_in{.flags = O_RDONLY});
    return As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, open)));
  }
  void Read(uint64_t fh) {
    OnlyAnswer(Send(FUSE_READ, node_, Bytes(fuse_read_in{.fh = fh, .size = 1})));
  }
};

TEST_F(HandlersAtOpen, AFileThatChangedElsewhereMakesTheKernelAskAgain) {
  Read(fh_);
  EXPECT_EQ(Open().open_flags, uint32_t{FOPEN_KEEP_CACHE});
  EXPECT_EQ(channel_.notifications[FUSE_NOTIFY_INVAL_INODE], 0);
  ASSERT_EQ(::truncate((path_ + "/x").c_str(), 1234), 0);
  EXPECT_EQ(Open().open_flags, 0u);
  EXPECT_EQ(channel_.notifications[FUSE_NOTIFY_INVAL_INODE], 1);
}

// It drops the pages when the open has been answered, and names the open file afterwards only.
TEST_F(HandlersAtOpen, NoPagesAreKeptUntilTheKernelHasDroppedThemForEveryOpen) {
  const uint64_t second = Open().fh;
  Read(fh_);
  const fuse_open_out third = Open();
  EXPECT_EQ(third.open_flags, 0u);
  Read(second);
  OnlyAnswer(Send(FUSE_RELEASE, node_, Bytes(fuse_release_in{.fh = third.fh})));
  EXPECT_EQ(Open().open_flags, uint32_t{FOPEN_KEEP_CACHE});
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
