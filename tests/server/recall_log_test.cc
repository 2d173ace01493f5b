// What a server process leaves to the next about its calls.
#include "server/recall_log.h"

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace rdmafs::server {
namespace {

using Fate = RecallLog::Fate;

constexpr SessionId kFirst{{1, 2}}, kSecond{{3, 4}}, kThird{{5, 6}}, kFourth{{7, 8}};
constexpr auto kOpcode = static_cast<uint16_t>(wire::Opcode::kMkDir);

class RecallLogTest : public testing::Test {
 protected:
  void SetUp() override { Restart(); }

  // The process ends, however, and another begins.
  void Restart() {
    log_.reset();
    auto log = RecallLog::Over(UniqueFd(dup(file_.get())), options_);
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
  }
  void Begin(const SessionId& session, uint16_t slot, uint32_t sequence) {
    RecallRecord* record = log_->RecordOf(session, 0, slot);
    ASSERT_NE(record, nullptr);
    record->sequence = sequence;
    record->opcode = kOpcode;
    record->state = RecallRecord::kBegun;
  }
  void End(const SessionId& session, uint16_t slot, int status, std::string_view reply = "") {
    RecallRecord* record = log_->RecordOf(session, 0, slot);
    record->status = static_cast<uint32_t>(status);
    record->reply_size = static_cast<uint16_t>(reply.size());
    std::memcpy(record->reply.data(), reply.data(), reply.size());
    record->state = RecallRecord::kDone;
  }
  RecallLog::Answer Find(const SessionId& session, uint16_t slot, uint32_t sequence,
                         std::string_view key = "", uint16_t opcode = kOpcode) {
    return log_->Find({session, key, 0, slot, sequence, opcode});
  }

  RecallLog::Options options_{.boot = {7, 7}, .record_count = 4, .session_count = 3};
  UniqueFd file_{memfd_create("calls", MFD_CLOEXEC)};
  std::unique_ptr<RecallLog> log_;
};

TEST_F(RecallLogTest, TheNextProcessKnowsHowACallWasAnswered) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, 0, "reply");
  Restart();
  const RecallLog::Answer found = Find(kFirst, 3, 9);
  ASSERT_EQ(found.fate, Fate::kDone);
  EXPECT_EQ(found.reply.status, kOk);
  EXPECT_EQ(found.reply.size_bytes, 5);
  EXPECT_EQ(std::memcmp(found.reply.bytes.data(), "reply", 5), 0);
}

TEST_F(RecallLogTest, ACallOfAKnownSessionThatIsNotThereWasNeverBegun) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, EEXIST);
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 10).fate, Fate::kNeverBegun);
  EXPECT_EQ(Find(kFirst, 4, 1).fate, Fate::kNeverBegun);
}

TEST_F(RecallLogTest, OfASessionThatItDoesNotKnowItSaysNothing) {
  EXPECT_EQ(Find(kFirst, 3, 1).fate, Fate::kUnknown);
}

TEST_F(RecallLogTest, OfACallThatWasBegunItSaysNothingUntilItIsDecided) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kUnknown);
  ASSERT_EQ(log_->RecordsIn(RecallRecord::kBegun).size(), 1u);
  log_->RecordsIn(RecallRecord::kBegun)[0]->state = RecallRecord::kUndecided;
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kUnknown);
  EXPECT_TRUE(log_->RecordsIn(RecallRecord::kBegun).empty());
}

TEST_F(RecallLogTest, ASessionThatGoesOnIsNotAskedAfter) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, 0);
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kUnknown);
  log_->EndSession(kFirst);
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kDone);
}

TEST_F(RecallLogTest, WhoeverHasAnotherKeyOrAsksForAnotherCallLearnsNothing) {
  ASSERT_TRUE(log_->AddSession(kFirst, "alice"));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, 0);
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 9, "bob").fate, Fate::kUnknown);
  EXPECT_EQ(Find(kFirst, 3, 9, "").fate, Fate::kUnknown);
  EXPECT_EQ(Find(kFirst, 3, 9, "alice", kOpcode + 1).fate, Fate::kUnknown);
  EXPECT_EQ(Find(kFirst, 3, 8, "alice").fate, Fate::kUnknown);
  EXPECT_EQ(Find(kFirst, 3, 9, "alice").fate, Fate::kDone);
}

TEST_F(RecallLogTest, AfterARestartOfTheHostNothingCounts) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, 0);
  options_.boot = {8, 8};
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kUnknown);
}

TEST_F(RecallLogTest, UnlessTheLastProcessEndedInOrder) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  Begin(kFirst, 3, 9);
  End(kFirst, 3, 0);
  log_->EndInOrder();
  options_.boot = {8, 8};
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kDone);
  options_.boot = {9, 9};  // this one did not
  Restart();
  EXPECT_EQ(Find(kFirst, 3, 9).fate, Fate::kUnknown);
}

TEST_F(RecallLogTest, AFileOfAnotherKindIsMadeAnew) {
  log_.reset();
  ASSERT_EQ(ftruncate(file_.get(), 0), 0);
  const std::string garbage(100000, '\xff');
  ASSERT_EQ(pwrite(file_.get(), garbage.data(), garbage.size(), 0), 100000);
  Restart();
  EXPECT_TRUE(log_->RecordsIn(RecallRecord::kBegun).empty());
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  EXPECT_NE(log_->RecordOf(kFirst, 0, 3), nullptr);
}

TEST_F(RecallLogTest, WhenThereIsNoRoomTheSessionThatWasOverFirstIsForgotten) {
  for (const SessionId& session : {kFirst, kSecond}) {
    ASSERT_TRUE(log_->AddSession(session, ""));
    for (uint16_t slot : {0, 1}) {
      Begin(session, slot, 1);
      End(session, slot, 0);
    }
  }
  log_->EndSession(kSecond);
  log_->EndSession(kFirst);
  ASSERT_TRUE(log_->AddSession(kThird, ""));
  ASSERT_NE(log_->RecordOf(kThird, 0, 0), nullptr);
  EXPECT_EQ(Find(kSecond, 0, 1).fate, Fate::kUnknown);
  EXPECT_EQ(Find(kFirst, 0, 1).fate, Fate::kDone);
}

TEST_F(RecallLogTest, ASessionWithMoreSlotsThanThereIsRoomForIsKnownInPart) {
  ASSERT_TRUE(log_->AddSession(kFirst, ""));
  for (uint16_t slot = 0; slot < 4; ++slot) {
    Begin(kFirst, slot, 1);
    End(kFirst, slot, 0);
  }
  EXPECT_EQ(log_->RecordOf(kFirst, 0, 4), nullptr);
  Restart();
  EXPECT_EQ(Find(kFirst, 0, 1).fate, Fate::kDone);
  EXPECT_EQ(Find(kFirst, 4, 1).fate, Fate::kUnknown);
}

TEST_F(RecallLogTest, MoreSessionsThanThereIsRoomForAreNotKnown) {
  for (const SessionId& session : {kFirst, kSecond, kThird}) {
    ASSERT_TRUE(log_->AddSession(session, ""));
  }
  EXPECT_FALSE(log_->AddSession(kFourth, ""));
  EXPECT_EQ(log_->RecordOf(kFourth, 0, 0), nullptr);
  log_->EndSession(kSecond);
  EXPECT_TRUE(log_->AddSession(kFourth, ""));
}

TEST(RecallLogFile, IsNotOpenedWhileAnotherProcessHasIt) {
  const std::string path = testing::TempDir() + "/rdmafs-calls." + std::to_string(getpid());
  const RecallLog::Options options{
      .boot = {1, 1}, .record_count = 2, .session_count = 2, .lock_patience_ms = 0};
  {
    auto log = RecallLog::Open(path, options);
    ASSERT_TRUE(log.ok()) << log.status();
    EXPECT_FALSE(RecallLog::Open(path, options).ok());
  }
  EXPECT_TRUE(RecallLog::Open(path, options).ok());
  unlink(path.c_str());
}

}  // namespace
}  // namespace rdmafs::server
