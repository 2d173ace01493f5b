// Reads of data on their way: they wait, ask again, or are given up.
#include <gtest/gtest.h>

#include "tests/client/read_ahead_rig.h"

namespace rdmafs {
namespace {

TEST(ReadAheadLayer, AReadOfDataOnTheirWayWaitsForThemAndAsksNoOne) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = rig.Open("f");
  rig.Read(id, 0, kRead);
  const auto* second = rig.Start(id, kRead, kRead);
  const uint64_t sent = rig.files.read_count();  // the demand, [2] and [3]
  const auto* third = rig.Start(id, 2 * kRead, kRead);
  EXPECT_FALSE(third->done());
  EXPECT_EQ(rig.files.pending(1).offset, 2 * kRead);
  EXPECT_LE(rig.files.read_count(), sent + 1) << "one more ahead, none for the read itself";
  rig.files.Answer(1);
  EXPECT_TRUE(third->ok());
  EXPECT_FALSE(second->done()) << "answers come in any order";
  EXPECT_EQ(rig.statistics().waits, 1u);
  rig.files.AnswerAll();
}

TEST(ReadAheadLayer, AReadThatWaitsForAnotherShardsFetchIsAnsweredByItsOwnLoop) {
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead, 0);
  const uint64_t sent = rig.files.read_count();
  const auto* first = rig.Start(id, 2 * kRead, 1000, 1);
  const auto* second = rig.Start(id, 2 * kRead + 1000, 1000, 1);
  EXPECT_LE(rig.files.read_count(), sent + 1) << "none for the reads themselves";
  rig.files.AnswerAll();
  EXPECT_FALSE(first->done() || second->done()) << "the other shard's thread must not answer them";
  rig.Settle();
  ASSERT_TRUE(first->ok() && second->ok());
  EXPECT_EQ(first->bytes()[0], PatternAt(2 * kRead));
  EXPECT_EQ(rig.statistics(1).waits, 2u);
}

TEST(ReadAheadLayer, AReadThatWaitsIsGivenUpAndTheOthersAreAnswered) {
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead);
  const auto* before = rig.Start(id, 2 * kRead, 8 * kKi);
  const auto* killed = rig.Start(id, 2 * kRead, 16 * kKi);
  const auto* after = rig.Start(id, 2 * kRead, 32 * kKi);
  rig.top(1).GiveUp({killed->memory.get(), 16 * kKi});
  EXPECT_FALSE(killed->done()) << "it is not that shard's";
  rig.top(0).GiveUp({killed->memory.get(), 16 * kKi});
  ASSERT_TRUE(killed->done());
  EXPECT_EQ(killed->result->error(), Errno(EINTR));
  EXPECT_FALSE(before->done() || after->done());
  rig.files.AnswerAll();
  EXPECT_TRUE(before->ok() && after->ok());
}

TEST(ReadAheadLayer, SeveralReadsMayWaitForTheSameData) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead);
  std::vector<ReadAheadRig::Answer*> answers;
  for (int i = 0; i < 4; ++i) answers.push_back(rig.Start(id, 2 * kRead + i * 16 * kKi, 16 * kKi));
  rig.files.AnswerAll();
  for (const ReadAheadRig::Answer* answer : answers) EXPECT_TRUE(answer->ok());
  EXPECT_EQ(rig.statistics().waits, 4u);
}

TEST(ReadAheadLayer, AnErrorOfAFetchIsNoAnswerTheReadAsksAgain) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead);
  const auto* waiting = rig.Start(id, 2 * kRead, kRead);
  rig.files.FailReads(Errno(EIO));
  rig.files.Answer(1);
  EXPECT_FALSE(waiting->done());
  rig.files.FailReads(kOk);
  rig.files.AnswerAll();
  ASSERT_TRUE(waiting->ok());
  EXPECT_EQ(waiting->bytes()[0], PatternAt(2 * kRead));
  EXPECT_EQ(rig.statistics().failures, 1u);
}

TEST(ReadAheadLayer, AnErrorReachesTheReaderWhenItsOwnReadFails) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = rig.Open("f");
  rig.files.FailReads(Errno(EIO));
  for (uint64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(rig.Read(id, i * kRead, kRead)->result->error(), Errno(EIO));
  }
  rig.files.FailReads(kOk);
  for (uint64_t i = 8; i < 16; ++i) EXPECT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
}

TEST(ReadAheadLayer, AReaderThatAsksForTheNextPieceInsideItsAnswerIsServed) {
  ReadAheadRig rig;
  rig.files.set_immediate(true);
  rig.Make("f", 8 * kMi);
  const OpenId id = rig.Open("f");
  std::vector<std::byte> memory(kRead);
  uint64_t offset = 0;
  std::function<void()> read = [&] {
    rig.top().Read({id, offset, kRead, {absl::MakeSpan(memory)}}, [&](Result<Payload> result) {
      ASSERT_EQ(result->bytes[0], PatternAt(offset));
      offset += kRead;
      if (offset < 8 * kMi) read();
    });
  };
  read();
  EXPECT_EQ(offset, 8 * kMi);
}

TEST(ReadAheadLayer, AReaderThatReleasesItsFileInsideAnAnswerDoesNoHarm) {
  for (const bool immediate : {false, true}) {
    ReadAheadRig rig;
    rig.files.set_immediate(immediate);
    rig.Make("f", 8 * kMi);
    const OpenId id = OpenAndWarm(rig, "f", 6);
    rig.top().Read({id, 6 * kRead, kRead, {}},
                   [&](Result<Payload>) { rig.top().Release(id, [](Result<Unit>) {}); });
    rig.files.AnswerAll();
    EXPECT_EQ(rig.statistics().in_flight, 0u);
  }
}

}  // namespace
}  // namespace rdmafs
