#include "client/read_ahead_layer.h"

#include <gtest/gtest.h>

#include "tests/client/read_ahead_rig.h"

namespace rdmafs {
namespace {

// --- Round trips ---

TEST(ReadAheadLayer, SequentialReadsTakeAFewLargeRoundTrips) {
  ReadAheadRig rig;
  rig.Make("f", 64 * kMi);
  const OpenId id = rig.Open("f");
  for (uint64_t offset = 0; offset < 64 * kMi; offset += kRead) {
    ASSERT_TRUE(rig.ReadsRight("f", id, offset, kRead));
  }
  EXPECT_EQ(rig.statistics().misses, 2u);
  EXPECT_EQ(rig.statistics().hits, 64 * kMi / kRead - 2);
  EXPECT_LE(rig.files.read_count(), 350u) << "of 1,024 reads";
  EXPECT_EQ(rig.files.read_bytes(), 64 * kMi) << "each byte once";
  EXPECT_EQ(rig.statistics().wasted_bytes, 0u);
  EXPECT_EQ(rig.statistics().copied_bytes, 0u);
}

TEST(ReadAheadLayer, AWholeWindowIsInFlightAheadOfTheReader) {
  ReadAheadRig rig;
  rig.Make("f", 64 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 300);
  for (uint64_t i = 300; i < 420; ++i) ASSERT_TRUE(rig.Start(id, i * kRead, kRead)->ok());
  uint64_t ahead = 0;
  for (size_t i = 0; i < rig.files.pending_count(); ++i) ahead += rig.files.pending(i).size;
  EXPECT_GE(ahead, 7 * kMi) << "none was answered while 7.5 MiB were read";
  EXPECT_EQ(rig.statistics().window_bytes, 8 * kMi);
  EXPECT_LE(rig.read_ahead.memory_bytes(), 10 * kMi);
}

TEST(ReadAheadLayer, AReaderWhoseReadsComeThroughSeveralShardsIsFollowedAsOne) {
  ReadAheadRig rig({.shard_count = 3});
  rig.Make("f", 64 * kMi);
  const OpenId id = rig.Open("f");
  for (uint64_t i = 0; i < 64 * kMi / kRead; ++i) {
    ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead, i * 7 % 5 % 3));
  }
  uint64_t misses = 0, wasted = 0, copied = 0;
  for (size_t shard = 0; shard < 3; ++shard) {
    misses += rig.statistics(shard).misses;
    wasted += rig.statistics(shard).wasted_bytes;
    copied += rig.statistics(shard).copied_bytes;
    EXPECT_GT(rig.statistics(shard).hits, 100u);
  }
  EXPECT_EQ(misses, 2u);
  EXPECT_EQ(wasted + copied, 0u);
  EXPECT_EQ(rig.files.read_bytes(), 64 * kMi) << "each byte once";
}

TEST(ReadAheadLayer, BackwardReadsTakeFewerRoundTripsThanReads) {
  ReadAheadRig rig;
  rig.Make("f", 32 * kMi);
  const OpenId id = rig.Open("f");
  for (uint64_t i = 32 * kMi / kRead; i-- > 0;)
    ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  EXPECT_LE(rig.statistics().misses, 3u);
  EXPECT_LE(rig.files.read_count(), 250u) << "of 512 reads";
  EXPECT_EQ(rig.files.read_bytes(), 32 * kMi);
}

TEST(ReadAheadLayer, StridedReadsAreThereWhenTheyAreAskedFor) {
  ReadAheadRig rig;
  rig.Make("f", 64 * kMi);
  const OpenId id = rig.Open("f");
  for (uint64_t i = 0; i < 128; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * 512 * kKi, kRead));
  EXPECT_LE(rig.statistics().misses, 3u);
  EXPECT_EQ(rig.files.read_count(), 128u);
}

TEST(ReadAheadLayer, ManyStreamsInOneFileAndInManyFilesAreAllFetchedAhead) {
  ReadAheadRig rig(
      {.read_ahead = {
           .mode = ReadAheadMode::kOn, .max_window_bytes = 2 * kMi, .max_total_bytes = 64 * kMi}});
  std::vector<OpenId> ids;
  for (const char* name : {"a", "b", "c"}) {
    rig.Make(name, 32 * kMi);
    ids.push_back(rig.Open(name));
  }
  for (uint64_t i = 0; i < 64; ++i) {
    for (size_t f = 0; f < 3; ++f) {
      for (uint64_t stream = 0; stream < 4; ++stream) {
        const std::string name(1, static_cast<char>('a' + f));
        ASSERT_TRUE(rig.ReadsRight(name, ids[f], stream * 8 * kMi + i * kRead, kRead));
      }
    }
  }
  EXPECT_GE(rig.statistics().hits, 3 * 4 * 61u);
}

TEST(ReadAheadLayer, RandomReadsGoToTheServerAsTheyAre) {
  ReadAheadRig rig;
  rig.Make("f", 64 * kMi);
  const OpenId id = rig.Open("f");
  uint64_t at = 1;
  for (int i = 0; i < 500; ++i) {
    at = (at * 1103515245 + 12345) % 16384;
    ASSERT_TRUE(rig.ReadsRight("f", id, at * 4096, 4096));
  }
  EXPECT_LE(rig.files.read_bytes(), 500 * 4096 * 102 / 100);
}

// --- Where the data are ---

TEST(ReadAheadLayer, AHitIsAnsweredAtOnceFromThePoolsMemory) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f");
  const auto* answer = rig.Start(id, 8 * kRead, kRead);
  ASSERT_TRUE(answer->ok());
  EXPECT_NE(answer->bytes().data(), answer->memory.get());
  EXPECT_TRUE(answer->result->value().hold);
  EXPECT_EQ(rig.statistics().copied_bytes, 0u);
}

TEST(ReadAheadLayer, AnAnswersBytesStandAsLongAsItIsHeld) {
  ReadAheadRig rig;
  rig.Make("f", 32 * kMi);
  const OpenId id = OpenAndWarm(rig, "f");
  const auto* answer = rig.Start(id, 8 * kRead, kRead);
  ASSERT_TRUE(answer->ok());
  for (uint64_t i = 9; i < 400; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  rig.Release(id);
  for (uint32_t i = 0; i < kRead; ++i) ASSERT_EQ(answer->bytes()[i], PatternAt(8 * kRead + i));
}

TEST(ReadAheadLayer, AReadOverTwoFetchesThatLieTogetherIsNotCopied) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 2);  // [2] and [3] are fetched, one piece each
  ASSERT_TRUE(rig.ReadsRight("f", id, 2 * kRead, 2 * kRead));
  EXPECT_EQ(rig.statistics().hits, 1u);
  EXPECT_EQ(rig.statistics().copied_bytes, 0u);
}

TEST(ReadAheadLayer, ReadsOfAnySizeAreRightAndAreCopiedAtMostOnce) {
  ReadAheadRig rig;
  rig.Make("f", 16 * kMi);
  const OpenId id = rig.Open("f");
  uint64_t offset = 0;
  for (uint32_t i = 1; offset < 16 * kMi; ++i) {
    const uint32_t size = 1 + i * 7919 % (200 * kKi);
    ASSERT_TRUE(rig.ReadsRight("f", id, offset, size)) << offset << "+" << size;
    offset += size;
  }
  EXPECT_LE(rig.statistics().copied_bytes, 16 * kMi);
  EXPECT_GT(rig.statistics().hit_bytes, 12 * kMi);
}

TEST(ReadAheadLayer, SmallDataThatComeInAMessageAreCopiedOnce) {
  ReadAheadRig rig;
  rig.Make("f", kMi);
  rig.files.set_inline_reads(true);
  const OpenId id = rig.Open("f");
  for (uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * 4096, 4096));
  EXPECT_LE(rig.statistics().copied_bytes, rig.statistics().fetched_bytes);
  EXPECT_GT(rig.statistics().hits, 50u);
}

TEST(ReadAheadLayer, AReadWithoutADestinationIsServedToo) {
  ReadAheadRig rig;
  rig.Make("f", kMi);
  const OpenId id = rig.Open("f");
  uint64_t got = 0;
  for (uint64_t i = 0; i < 64; ++i) {
    rig.top().Read({id, i * 4096, 4096, {}},
                   [&](Result<Payload> result) { got += result->bytes.size(); });
    rig.files.AnswerAll();
  }
  EXPECT_EQ(got, 64 * 4096u);
  EXPECT_GT(rig.statistics().hits, 50u);
}

TEST(ReadAheadLayer, AReadOfNothingAndOfAnUnknownFileAreTheServersBusiness) {
  ReadAheadRig rig;
  rig.Make("f", kMi);
  const OpenId id = rig.Open("f");
  EXPECT_TRUE(rig.ReadsRight("f", id, 0, 0));
  EXPECT_FALSE(rig.Read(4711, 0, 4096)->result->ok());
}

// --- The end of the file ---

TEST(ReadAheadLayer, TheLastPieceIsShortAndTheEndItselfIsAskedFor) {
  ReadAheadRig rig;
  rig.Make("f", 10 * kRead + 1000);
  const OpenId id = OpenAndWarm(rig, "f", 10);
  const auto* last = rig.Start(id, 10 * kRead, kRead);
  ASSERT_TRUE(last->ok());
  EXPECT_EQ(last->bytes().size(), 1000u);
  const uint64_t sent = rig.files.read_count();
  EXPECT_TRUE(rig.ReadsRight("f", id, 10 * kRead + 1000, kRead));
  EXPECT_EQ(rig.files.read_count(), sent + 1);
}

TEST(ReadAheadLayer, AFollowerOfAGrowingFileSeesWhatAnotherClientAppends) {
  ReadAheadRig rig;
  rig.Make("f", 10 * kRead + 1000);
  const OpenId id = OpenAndWarm(rig, "f", 10);
  uint64_t offset = 10 * kRead;
  for (int round = 0; round < 50; ++round) {
    for (;;) {
      const auto* answer = rig.Read(id, offset, kRead);
      ASSERT_TRUE(answer->ok());
      if (answer->bytes().empty()) break;
      offset += answer->bytes().size();
    }
    ASSERT_EQ(offset, rig.files.file("f").content.size());
    rig.files.Overwrite("f", offset, Bytes(1 + round * 7001, round));
  }
}

TEST(ReadAheadLayer, AFileThatHasGrownIsFetchedAheadBehindItsOldEnd) {
  ReadAheadRig rig;
  rig.Make("f", 4 * kRead);
  const OpenId id = OpenAndWarm(rig, "f", 4);
  rig.files.Overwrite("f", 4 * kRead, Bytes(200 * kRead, 3));  // nobody told us
  for (uint64_t i = 4; i < 200; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  EXPECT_GE(rig.statistics().hits, 90u);
}

// --- Bounds and ends ---

TEST(ReadAheadLayer, MemoryStaysWithinRaTotalHoweverManyFilesAreRead) {
  ReadAheadRig rig({.read_ahead = {.mode = ReadAheadMode::kOn, .max_total_bytes = 4 * kMi}});
  std::vector<OpenId> ids;
  for (int f = 0; f < 12; ++f) {
    rig.Make(std::to_string(f), 4 * kMi);
    ids.push_back(rig.Open(std::to_string(f)));
  }
  for (uint64_t i = 0; i < 64; ++i) {
    for (int f = 0; f < 12; ++f) {
      ASSERT_TRUE(rig.ReadsRight(std::to_string(f), ids[f], i * kRead, kRead));
      ASSERT_LE(rig.read_ahead.memory_bytes(), 4 * kMi);
    }
  }
  EXPECT_GT(rig.statistics().hits, 0u);
}

TEST(ReadAheadLayer, AFileThatIsNotReadAnyMoreGivesItsMemoryToOneThatIs) {
  ReadAheadRig rig({.read_ahead = {.mode = ReadAheadMode::kOn, .max_total_bytes = 8 * kMi}});
  rig.Make("idle", 32 * kMi);
  rig.Make("busy", 32 * kMi);
  OpenAndWarm(rig, "idle", 200);
  const OpenId busy = rig.Open("busy");
  const uint64_t before = rig.read_ahead.memory_bytes();
  ASSERT_GE(before, 7 * kMi);
  rig.clock.now += 2 * kSecond;
  const uint64_t hits = rig.statistics().hits;
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(rig.ReadsRight("busy", busy, i * kRead, kRead));
  EXPECT_GE(rig.statistics().hits - hits, 95u);
}

TEST(ReadAheadLayer, AShortPoolStopsTheFetchesAndNotTheReads) {
  ReadAheadRig rig({.pool_bytes = 16 * kMi});
  rig.Make("f", 32 * kMi);
  const OpenId id = rig.Open("f");
  std::vector<Buffer> taken;  // by others
  while (Buffer buffer = rig.pool.Take()) taken.push_back(std::move(buffer));
  taken.pop_back();
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  EXPECT_EQ(rig.read_ahead.memory_bytes(), 0u);
  EXPECT_EQ(rig.files.read_count(), 100u);
  EXPECT_TRUE(rig.pool.Take()) << "the last block is left to others";
  taken.clear();
  for (uint64_t i = 100; i < 200; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  EXPECT_GT(rig.statistics().hits, 90u) << "and it goes on when there is room";
}

TEST(ReadAheadLayer, FetchesInFlightStayWithinTheirLimit) {
  ReadAheadRig rig({.read_ahead = {.mode = ReadAheadMode::kOn, .max_in_flight = 3}});
  rig.Make("f", 64 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 100);
  for (uint64_t i = 100; i < 300; ++i) {
    rig.Start(id, i * kRead, kRead);
    ASSERT_LE(rig.statistics().in_flight, 3u);
  }
  rig.files.AnswerAll();
  EXPECT_EQ(rig.statistics().in_flight, 0u);
}

TEST(ReadAheadLayer, ReleaseWhileFetchesAreInFlightGivesAllMemoryBack) {
  ReadAheadRig rig;
  rig.Make("f", 32 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 100);
  rig.Start(id, 100 * kRead, kRead);
  const auto* waiting = rig.Start(id, 120 * kRead, 512 * kKi);
  rig.top().Release(id, [](Result<Unit>) {});
  rig.files.AnswerAll();
  EXPECT_TRUE(waiting->done());
  EXPECT_EQ(rig.statistics().in_flight, 0u);
  EXPECT_LE(rig.read_ahead.memory_bytes(), kMi) << "the block that small windows share";
}

TEST(ReadAheadLayer, AReleaseThroughAnotherShardFreesWhatThisOneHas) {
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 32 * kMi);
  const OpenId id = rig.Open("f", 0, 1);
  for (uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead, 0));
  ASSERT_GE(rig.read_ahead.memory_bytes(), 2 * kMi);
  rig.Release(id, 1);
  EXPECT_LE(rig.read_ahead.memory_bytes(), kMi) << "the block that small windows share";
}

TEST(ReadAheadLayer, WhenTheServersEndIsTakenDownReadsThatWaitEndWithItsError) {
  ReadAheadRig rig;
  rig.Make("f", 32 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead);
  const auto* waiting = rig.Start(id, 2 * kRead, kRead);
  rig.files.FailReads(Errno(ENOTCONN));
  const uint64_t sent = rig.files.read_count();
  rig.files.Answer(1);
  ASSERT_TRUE(waiting->done());
  EXPECT_EQ(waiting->result->error(), Errno(ENOTCONN));
  EXPECT_EQ(rig.files.read_count(), sent) << "nothing is asked of what is being destroyed";
}

}  // namespace
}  // namespace rdmafs
