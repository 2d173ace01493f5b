// What follows for a call in whose middle the server was killed from what there was before it and
// what there is now. Each is decided twice: when it was done, and when it was not.
#include "server/recall_decision.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <time.h>

#include <cstring>

#include "server/recall_evidence.h"
#include "tests/server/store_fixture.h"

namespace rdmafs::server {
namespace {

using Fate = RecallLog::Fate;

class RecallDecision : public StoreTest {
 protected:
  void SetUp() override {
    StoreTest::SetUp();
    auto log = RecallLog::Over(UniqueFd(memfd_create("calls", MFD_CLOEXEC)),
                               {.record_count = 8, .session_count = 2});
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    ASSERT_TRUE(log_->AddSession(kSession, ""));
  }

  // What is noted of `request` before it is done by alice; evidence comes with the functions below.
  template <typename Request>
  RecallRecord& Begin(const Request& request, std::string_view text = "", uint16_t slot = 0) {
    RecallRecord& record = *log_->RecordOf(kSession, 0, slot);
    timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    record.sequence = 1;
    record.opcode = static_cast<uint16_t>(Request::kOpcode);
    record.uid = kAlice.uid;
    record.begun_s = now.tv_sec;
    record.begun_ns = static_cast<uint32_t>(now.tv_nsec);
    record.body_size =
        static_cast<uint16_t>(wire::Encode(request, absl::MakeSpan(record.arguments)).size());
    record.text_size = static_cast<uint16_t>(text.size());
    std::memcpy(record.arguments.data() + record.body_size, text.data(), text.size());
    record.evidence = 0;
    record.state = RecallRecord::kBegun;
    return record;
  }
  void NoteNothing(RecallRecord& record) { record.evidence |= kFirstKnown; }
  void NoteFirst(RecallRecord& record, std::string_view name) {
    const wire::FileHandle named = *store_->Identify(kRoot, root_, name);
    record.first_size = named.size_bytes;
    std::memcpy(record.first.data(), named.bytes.data(), named.size_bytes);
    record.evidence |= kFirstKnown;
  }
  void NoteSecond(RecallRecord& record, std::string_view name) {
    record.evidence |= kSecondKnown;
    auto named = store_->Identify(kRoot, root_, name);
    record.second_size = named.ok() ? named->size_bytes : 0;
    if (named.ok()) std::memcpy(record.second.data(), named->bytes.data(), named->size_bytes);
  }
  void NoteSize(RecallRecord& record, const StoreEntry& entry) {
    record.first_size = entry.handle.size_bytes;
    std::memcpy(record.first.data(), entry.handle.bytes.data(), entry.handle.size_bytes);
    record.file_size = store_->GetAttr(kRoot, entry.handle, nullptr)->size;
    record.evidence |= kSizeKnown;
  }

  RecallLog::Answer Decide(uint16_t slot = 0) {
    DecideCallsInDoubt(*log_, [this](uint32_t id) { return id == 7 ? store_.get() : nullptr; });
    log_->EndSession(kSession);
    return log_->Find({kSession, "", 0, slot, 1, log_->RecordOf(kSession, 0, slot)->opcode});
  }
  template <typename Message>
  static Message Decoded(const RecallLog::Answer& answer) {
    Message message;
    wire::Decoder decoder(answer.reply.body());
    EXPECT_TRUE(message.Code(decoder));
    return message;
  }

  void Append(const StoreEntry& entry, std::string_view text) {
    auto opened = store_->Open(kRoot, entry.handle, O_WRONLY | O_APPEND, false);
    ASSERT_TRUE(opened.ok());
    ASSERT_EQ(ErrorOf(Put(*opened->file, text, 0)), 0);
  }
  wire::WriteRequest AppendOf(size_t size) { return {1, 0, static_cast<uint32_t>(size)}; }

  static constexpr SessionId kSession{{1, 2}};
  std::unique_ptr<RecallLog> log_;
};

TEST_P(RecallDecision, ADirectoryThatIsThereWasMadeAndItsReplyIsFound) {
  NoteNothing(Begin(wire::MkDirRequest{{}, root_, "d", 0755}));
  const StoreEntry made = MakeDir(kAlice, "d");
  const RecallLog::Answer answer = Decide();
  ASSERT_EQ(answer.fate, Fate::kDone);
  EXPECT_EQ(answer.reply.status, kOk);
  EXPECT_TRUE(Decoded<wire::EntryReply>(answer).handle == made.handle);
}

TEST_P(RecallDecision, ADirectoryThatIsNotThereWasNotMade) {
  NoteNothing(Begin(wire::MkDirRequest{{}, root_, "d", 0755}));
  EXPECT_EQ(Decide().fate, Fate::kNeverBegun);
}

TEST_P(RecallDecision, AFileThatIsThereAndEmptyWasCreated) {
  NoteNothing(Begin(wire::CreateRequest{{}, root_, "f", 5, O_WRONLY | O_CREAT | O_EXCL, 0444}));
  const StoreEntry made = MakeFile(kAlice, "f", "", 0444);
  const RecallLog::Answer answer = Decide();
  ASSERT_EQ(answer.fate, Fate::kDone);
  EXPECT_TRUE(Decoded<wire::EntryReply>(answer).handle == made.handle);
}

TEST_P(RecallDecision, AFileThatSomebodyElseHasMadeOrFilledIsNotTakenForIt) {
  NoteNothing(Begin(wire::CreateRequest{{}, root_, "f", 5, O_WRONLY | O_CREAT | O_EXCL, 0644}));
  NoteNothing(
      Begin(wire::CreateRequest{{}, root_, "g", 6, O_WRONLY | O_CREAT | O_EXCL, 0644}, "", 1));
  MakeFile(kAlice, "f", "content");
  MakeFile(kBob, "g");
  EXPECT_EQ(Decide(0).fate, Fate::kUnknown);
  EXPECT_EQ(Decide(1).fate, Fate::kUnknown);
}

TEST_P(RecallDecision, AFileThatIsMuchYoungerThanTheCallIsNotTakenForIt) {
  RecallRecord& record = Begin(wire::MkNodRequest{{}, root_, "f", S_IFREG | 0644});
  NoteNothing(record);
  record.begun_s -= 10;
  MakeFile(kAlice, "f");
  EXPECT_EQ(Decide().fate, Fate::kUnknown);
}

TEST_P(RecallDecision, ANameThatWasThereBeforeIsLeftToBeRefused) {
  MakeFile(kAlice, "f");
  NoteFirst(Begin(wire::MkNodRequest{{}, root_, "f", S_IFREG | 0644}), "f");
  EXPECT_EQ(Decide().fate, Fate::kNeverBegun);
}

TEST_P(RecallDecision, OfTwoThatMadeTheSameOneHasMadeIt) {
  NoteNothing(Begin(wire::MkNodRequest{{}, root_, "f", S_IFREG | 0644}, "", 0));
  NoteNothing(Begin(wire::MkNodRequest{{}, root_, "f", S_IFREG | 0644}, "", 1));
  MakeFile(kAlice, "f");
  const Fate first = Decide(0).fate, second = Decide(1).fate;
  EXPECT_NE(first, second);
  EXPECT_TRUE(first == Fate::kDone || second == Fate::kDone);
  EXPECT_TRUE(first == Fate::kNeverBegun || second == Fate::kNeverBegun);
}

TEST_P(RecallDecision, ASymLinkWithTheSameTargetWasMade) {
  NoteNothing(Begin(wire::SymLinkRequest{{}, root_, "l"}, "target", 0));
  NoteNothing(Begin(wire::SymLinkRequest{{}, root_, "k"}, "target", 1));
  ASSERT_TRUE(store_->SymLink(kAlice, root_, "l", "target").ok());
  ASSERT_TRUE(store_->SymLink(kAlice, root_, "k", "another").ok());
  EXPECT_EQ(Decide(0).fate, Fate::kDone);
  EXPECT_EQ(Decide(1).fate, Fate::kUnknown);
}

TEST_P(RecallDecision, ALinkToTheFileWasMade) {
  const StoreEntry file = MakeFile(kAlice, "f");
  NoteNothing(Begin(wire::LinkRequest{{}, file.handle, root_, "l"}, "", 0));
  NoteNothing(Begin(wire::LinkRequest{{}, file.handle, root_, "none"}, "", 1));
  NoteNothing(Begin(wire::LinkRequest{{}, file.handle, root_, "g"}, "", 2));
  ASSERT_TRUE(store_->Link(kAlice, file.handle, root_, "l").ok());
  MakeFile(kAlice, "g");
  EXPECT_EQ(Decide(0).fate, Fate::kDone);
  EXPECT_EQ(Decide(1).fate, Fate::kNeverBegun);
  EXPECT_EQ(Decide(2).fate, Fate::kUnknown);
}

TEST_P(RecallDecision, WhatIsGoneWasRemovedAndWhatIsThereWasNot) {
  for (const char* name : {"a", "b", "c"}) MakeFile(kAlice, name);
  NoteFirst(Begin(wire::UnlinkRequest{{}, root_, "a"}, "", 0), "a");
  NoteFirst(Begin(wire::UnlinkRequest{{}, root_, "b"}, "", 1), "b");
  NoteFirst(Begin(wire::UnlinkRequest{{}, root_, "c"}, "", 2), "c");
  NoteNothing(Begin(wire::UnlinkRequest{{}, root_, "none"}, "", 3));
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "a").ok());
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "c").ok());
  MakeFile(kBob, "c", "another file of the name");
  EXPECT_EQ(Decide(0).fate, Fate::kDone);
  EXPECT_EQ(Decide(1).fate, Fate::kNeverBegun);
  EXPECT_EQ(Decide(2).fate, Fate::kDone);
  EXPECT_EQ(Decide(3).fate, Fate::kNeverBegun);
}

TEST_P(RecallDecision, WhatIsAtItsNewNameWasMoved) {
  for (const char* name : {"a", "b", "x", "y"}) MakeFile(kAlice, name);
  const auto begin = [&](std::string_view from, std::string_view to, uint32_t flags,
                         uint16_t slot) {
    RecallRecord& record = Begin(wire::RenameRequest{{}, root_, from, root_, to, flags}, "", slot);
    NoteFirst(record, from);
    NoteSecond(record, to);
  };
  begin("a", "new", 0, 0);
  begin("b", "b2", 0, 1);
  begin("x", "y", RENAME_EXCHANGE, 2);
  begin("b", "gone", 0, 3);
  ASSERT_TRUE(store_->Rename(kAlice, root_, "a", root_, "new", 0).ok());
  ASSERT_TRUE(store_->Rename(kAlice, root_, "x", root_, "y", RENAME_EXCHANGE).ok());
  EXPECT_EQ(Decide(0).fate, Fate::kDone);
  EXPECT_EQ(Decide(1).fate, Fate::kNeverBegun);
  EXPECT_EQ(Decide(2).fate, Fate::kDone);
}

TEST_P(RecallDecision, WhatIsAtNeitherNameIsNotDecided) {
  MakeFile(kAlice, "a");
  RecallRecord& record = Begin(wire::RenameRequest{{}, root_, "a", root_, "b", 0});
  NoteFirst(record, "a");
  NoteSecond(record, "b");
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "a").ok());
  EXPECT_EQ(Decide().fate, Fate::kUnknown);
}

TEST_P(RecallDecision, WhatStandsAtTheOldEndWasAppended) {
  const StoreEntry file = MakeFile(kAlice, "f", "before");
  NoteSize(Begin(AppendOf(6), "record"), file);
  Append(file, "record");
  const RecallLog::Answer answer = Decide();
  ASSERT_EQ(answer.fate, Fate::kDone);
  EXPECT_EQ(Decoded<wire::CountReply>(answer).count, 6u);
}

TEST_P(RecallDecision, AFileThatEndsWhereItEndedWasNotAppendedTo) {
  const StoreEntry file = MakeFile(kAlice, "f", "before");
  NoteSize(Begin(AppendOf(6), "record"), file);
  EXPECT_EQ(Decide().fate, Fate::kNeverBegun);
}

TEST_P(RecallDecision, AnAppendThatWasCutOffIsAShortOne) {
  const StoreEntry file = MakeFile(kAlice, "f", "before");
  NoteSize(Begin(AppendOf(6), "record"), file);
  Append(file, "rec");
  const RecallLog::Answer answer = Decide();
  ASSERT_EQ(answer.fate, Fate::kDone);
  EXPECT_EQ(Decoded<wire::CountReply>(answer).count, 3u);
}

TEST_P(RecallDecision, OtherBytesAtTheOldEndAreNotTakenForIt) {
  const StoreEntry file = MakeFile(kAlice, "f", "before");
  NoteSize(Begin(AppendOf(6), "record"), file);
  Append(file, "RECORD");
  EXPECT_EQ(Decide().fate, Fate::kUnknown);
}

TEST_P(RecallDecision, OfALargeAppendBothEndsAreCompared) {
  const std::string text = std::string(kRecallSampleBytes, 'a') + std::string(5000, 'm') +
                           std::string(kRecallSampleBytes, 'z');
  const std::string sample =
      std::string(kRecallSampleBytes, 'a') + std::string(kRecallSampleBytes, 'z');
  const StoreEntry file = MakeFile(kAlice, "f", "before"), other = MakeFile(kAlice, "g", "before");
  NoteSize(Begin(AppendOf(text.size()), sample, 0), file);
  NoteSize(Begin(AppendOf(text.size()), sample, 1), other);
  Append(file, text);
  Append(other, std::string(text.size(), 'a'));
  EXPECT_EQ(Decide(0).fate, Fate::kDone);
  EXPECT_EQ(Decide(1).fate, Fate::kUnknown);
}

TEST_P(RecallDecision, WithoutEvidenceOrAStoreNothingIsDecided) {
  Begin(wire::MkDirRequest{{}, root_, "d", 0755}, "", 0);
  wire::FileHandle foreign = root_;
  foreign.bytes[0] = 9;
  NoteNothing(Begin(wire::MkDirRequest{{}, foreign, "d", 0755}, "", 1));
  EXPECT_EQ(Decide(0).fate, Fate::kUnknown);
  EXPECT_EQ(Decide(1).fate, Fate::kUnknown);
}

INSTANTIATE_TEST_SUITE_P(On, RecallDecision,
                         testing::Values(Place{"Tmpfs", "/dev/shm",
                                               PosixStoreOptions::Handles::kAuto},
                                         Place{"Disk", ".", PosixStoreOptions::Handles::kAuto}),
                         PlaceName);

}  // namespace
}  // namespace rdmafs::server
