// Small files: what comes with the answer to an open, and when the kernel is given it.
#include "fuse/page_fill.h"

#include <fstream>
#include <optional>

#include "client/layer.h"
#include "tests/fuse/handlers_fixture.h"

namespace rdmafs::fuse {
namespace {

struct Kernel {
  const char* release;
  const char* version;
  bool clears;
};
class KernelNames : public ::testing::TestWithParam<Kernel> {};

TEST_P(KernelNames, SayWhetherItClearsWhatIsBehindTheEnd) {
  utsname name{};
  std::strcpy(name.release, GetParam().release);
  std::strcpy(name.version, GetParam().version);
  EXPECT_EQ(ClearsStoredTails(name), GetParam().clears);
}

INSTANTIATE_TEST_SUITE_P(
    PageFill, KernelNames,
    testing::Values(Kernel{"6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1", false},
                    Kernel{"6.1.0-37-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.140-1", true},
                    Kernel{"6.1.106", "#1 SMP", false}, Kernel{"6.1.107", "#1 SMP", true},
                    Kernel{"6.6.47", "#1", false}, Kernel{"6.6.48-custom", "#1", true},
                    Kernel{"6.8.0-45-generic", "#45-Ubuntu SMP", false},
                    Kernel{"6.10.6", "#1 16.10.9", false}, Kernel{"6.11.0", "#1", true},
                    Kernel{"6.18.44-fc-v657", "#1", true}, Kernel{"7.0.0", "#1", true},
                    Kernel{"nonsense", "6.11", false}));

// Opens are answered when the test says so.
class HeldOpens final : public Layer {
 public:
  using Layer::Layer;
  void OpenAndRead(const Caller& caller, const FileHandle& handle, uint32_t flags, uint32_t options,
                   ReadRequest first, Reply<OpenedFile> reply) override {
    next().OpenAndRead(caller, handle, flags, options, std::move(first),
                       [this](Result<OpenedFile> result) { result_ = std::move(result); });
    reply_ = std::move(reply);
    if (!held) Answer();
  }
  void Answer() { reply_.Complete(*std::move(result_)); }
  bool held = false;

 private:
  std::optional<Result<OpenedFile>> result_;
  Reply<OpenedFile> reply_;
};

class PageFillTest : public HandlersTest {
 protected:
  PageFillTest() {
    settings_.fills_pages = true;
    ServeFrom(opens_);
    Fill("content");
    node_ = Look();
  }
  void Fill(const std::string& content) { std::ofstream(path_ + "/x") << content; }
  uint64_t Look() { return As<fuse_entry_out>(OnlyAnswer(Send(FUSE_LOOKUP, 1, kNameX))).nodeid; }
  uint64_t SendOpen(uint32_t flags = O_RDONLY) {
    return Send(FUSE_OPEN, node_, Bytes(fuse_open_in{.flags = flags}));
  }
  fuse_open_out Open(uint32_t flags = O_RDONLY) {
    return As<fuse_open_out>(OnlyAnswer(SendOpen(flags)));
  }
  void Release(const fuse_open_out& open) {
    Send(FUSE_RELEASE, node_, Bytes(fuse_release_in{.fh = open.fh}));
  }
  // The flags of an open during which that happened.
  uint32_t OpenDuring(std::function<void()> other) {
    opens_.held = true;
    const uint64_t open = SendOpen();
    other();
    opens_.Answer();
    return As<fuse_open_out>(OnlyAnswer(open)).open_flags;
  }
  HeldOpens opens_{*file_system_};
  uint64_t node_ = 0;
};

TEST_F(PageFillTest, TheFirstOpenGivesTheKernelASmallFile) {
  EXPECT_EQ(Open().open_flags, FOPEN_KEEP_CACHE);
  EXPECT_EQ(channel_.stored, std::vector<std::string>{"content"});
}

TEST_F(PageFillTest, AlsoOneThatDoesNotFitIntoAMessage) {
  const std::string content(wire::kMaxOpenReadBytes, 'x');
  Fill(content);
  Look();
  EXPECT_EQ(Open().open_flags, FOPEN_KEEP_CACHE);
  EXPECT_EQ(channel_.stored, std::vector<std::string>{content});
  EXPECT_EQ(pool_.statistics().used_count, 0u);
}

TEST_F(PageFillTest, ALargeOneIsRead) {
  Fill(std::string(wire::kMaxOpenReadBytes + 1, 'x'));
  Look();
  EXPECT_EQ(Open().open_flags, 0u);
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, TheNextOpenKeepsWhatIsThere) {
  Release(Open());
  EXPECT_EQ(Open().open_flags, FOPEN_KEEP_CACHE);
  EXPECT_EQ(channel_.stored.size(), 1u);
}

TEST_F(PageFillTest, WhatIsNoLongerAsItWasDropsIt) {
  Release(Open());
  Fill("another content");
  EXPECT_EQ(Open().open_flags, 0u);
  EXPECT_EQ(channel_.stored.size(), 1u);
}

TEST_F(PageFillTest, AFileThatTheKernelKnowsOtherwiseIsNotGiven) {
  Fill("changed");
  EXPECT_EQ(Open().open_flags, 0u);
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, AFileThatChangedIsGivenAnew) {
  Release(Open());
  Fill("another content");
  Look();
  EXPECT_EQ(Open().open_flags, FOPEN_KEEP_CACHE);
  EXPECT_EQ(channel_.stored, (std::vector<std::string>{"content", "another content"}));
}

TEST_F(PageFillTest, WhatTheKernelHasReadAndMayKeepIsNotGiven) {
  settings_.fills_pages = false;
  const fuse_open_out open = Open();
  Send(FUSE_READ, node_, Bytes(fuse_read_in{.fh = open.fh, .size = 100}));
  Release(open);
  settings_.fills_pages = true;
  Open();
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, NorOneThatIsOpenAlready) {
  Open(O_WRONLY);
  Open();
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, AKernelThatDoesNotTakeItReads) {
  channel_.refused_notification = Errno(ENOMEM);
  EXPECT_EQ(Open().open_flags, 0u);
}

class NotFilled : public PageFillTest, public ::testing::WithParamInterface<uint32_t> {};

TEST_P(NotFilled, ByAnOpenOfAnotherKind) {
  Open(GetParam());
  EXPECT_TRUE(channel_.stored.empty());
}

INSTANTIATE_TEST_SUITE_P(PageFill, NotFilled,
                         testing::Values(O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC,
                                         O_RDONLY | O_DIRECT));

class SettingsWithoutFilling : public PageFillTest,
                               public ::testing::WithParamInterface<void (*)(Settings&)> {};

TEST_P(SettingsWithoutFilling, LeaveThePagesAlone) {
  GetParam()(settings_);
  Open();
  EXPECT_TRUE(channel_.stored.empty());
}

INSTANTIATE_TEST_SUITE_P(PageFill, SettingsWithoutFilling,
                         testing::Values([](Settings& s) { s.direct_io = true; },
                                         [](Settings& s) { s.cache = CacheMode::kNone; },
                                         [](Settings& s) { s.writeback = true; },
                                         [](Settings& s) { s.fills_pages = false; }));

TEST_F(PageFillTest, NothingElseMeanwhileLetsItBeGiven) {
  EXPECT_EQ(OpenDuring([] {}), FOPEN_KEEP_CACHE);
}

TEST_F(PageFillTest, AnotherOpenMeanwhileMayHaveLockedPages) {
  EXPECT_EQ(OpenDuring([&] { Open(O_RDWR); }), 0u);
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, OneThatIsOverMayHaveChangedTheFile) {
  OpenDuring([&] { Release(Open(O_RDWR)); });
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, ATruncateMeanwhileMayHaveBeenDoneAfterTheRead) {
  EXPECT_EQ(OpenDuring([&] {
              Send(FUSE_SETATTR, node_, Bytes(fuse_setattr_in{.valid = FATTR_SIZE, .size = 7}));
            }),
            0u);
  EXPECT_TRUE(channel_.stored.empty());
}

TEST_F(PageFillTest, AFileThatWasReplacedIsLookedForByItsNameOnce) {
  Open();
  std::filesystem::remove(path_ + "/x");
  Fill("another file");
  EXPECT_EQ(OnlyAnswer(SendOpen()).error, Errno(ESTALE));
  const uint64_t found = Look();
  EXPECT_NE(found, node_);
  EXPECT_TRUE(OnlyAnswer(SendOpen()).error.ok()) << "this very file is meant";
}

TEST_F(PageFillTest, AnOpenThatNobodyWaitsForAnyMoreIsOver) {
  channel_.refusal = Errno(ENOENT);
  SendOpen();
  channel_.refusal = kOk;
  const Node* node = nodes_->Find(node_);
  absl::MutexLock lock(&const_cast<Node*>(node)->mutex);
  EXPECT_EQ(node->open_count, 0u);
}

}  // namespace
}  // namespace rdmafs::fuse
