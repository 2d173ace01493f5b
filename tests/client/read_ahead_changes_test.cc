// Writes, truncates and others' changes under read-ahead: nobody reads what is old.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include "tests/client/read_ahead_rig.h"

namespace rdmafs {
namespace {

// What changes the file between a read that fetched ahead and the next.
struct Change {
  const char* name;
  void (*make)(ReadAheadRig& rig, OpenId writer, size_t shard);
};
class ReadAheadChange : public testing::TestWithParam<std::tuple<Change, size_t>> {};

void Truncate(ReadAheadRig& rig, uint64_t size, size_t shard) {
  SetAttributes attributes{};
  attributes.valid = wire::kSetSize;
  attributes.size = size;
  rig.top(shard).SetAttr({}, rig.files.HandleOf("f"), 0, attributes, [](Result<Attributes>) {});
  rig.files.AnswerAll();
}

const Change kChanges[] = {
    {"Write", [](ReadAheadRig& rig, OpenId writer,
                 size_t shard) { rig.Write(writer, 8 * kRead, Bytes(4 * kRead, 1), shard); }},
    {"Truncate",
     [](ReadAheadRig& rig, OpenId, size_t shard) { Truncate(rig, 8 * kRead + 5, shard); }},
    {"PunchHole",
     [](ReadAheadRig& rig, OpenId writer, size_t shard) {
       rig.top(shard).Fallocate({}, writer, 8 * kRead, 2 * kRead,
                                FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, [](Result<Unit>) {});
       rig.files.AnswerAll();
     }},
    {"CopyFileRange",
     [](ReadAheadRig& rig, OpenId writer, size_t shard) {
       rig.top(shard).CopyFileRange({}, {writer, 0, writer, 8 * kRead, 3 * kRead},
                                    [](Result<uint64_t>) {});
       rig.files.AnswerAll();
     }},
    {"OpenThatTruncates",
     [](ReadAheadRig& rig, OpenId, size_t shard) { rig.Open("f", O_RDWR | O_TRUNC, shard); }},
    {"CreateThatTruncates",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.top(shard).Create({}, {}, "f", rig.top(shard).NewOpenId(), O_RDWR | O_TRUNC, 0644, 0,
                             [](Result<Entry>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientSeenByGetAttr",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       rig.top(shard).GetAttr({}, rig.files.HandleOf("f"), 0, [](Result<Attributes>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientSeenByLookup",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       rig.top(shard).Lookup({}, {}, "f", [](Result<Entry>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientSeenByOpen",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       rig.Open("f", 0, shard);
     }},
    {"AnotherClientSeenByOpenAndRead",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       FileSystem& top = rig.top(shard);
       top.OpenAndRead({}, rig.files.HandleOf("f"), 0, 0, {top.NewOpenId(), 0, 100, {}},
                       [](Result<OpenedFile>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientSeenBySetAttr",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       SetAttributes attributes{};
       attributes.valid = wire::kSetMode;
       rig.top(shard).SetAttr({}, rig.files.HandleOf("f"), 0, attributes,
                              [](Result<Attributes>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientBeforeALockWasHad",
     [](ReadAheadRig& rig, OpenId writer, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       LockRange range{};
       range.type = wire::LockType::kRead;
       rig.top(shard).SetLock(writer, range, 0, [](Result<Unit>) {});
       rig.files.AnswerAll();
     }},
    {"AnotherClientSeenByReadDirPlus",
     [](ReadAheadRig& rig, OpenId, size_t shard) {
       rig.files.Overwrite("f", 8 * kRead, Bytes(kRead, 2));
       std::vector<std::byte> records(4096);
       rig.top(shard).ReadDir({}, {9, 0, wire::kReadDirPlus, {absl::MakeSpan(records)}},
                              [](Result<Payload> result) { EXPECT_FALSE(result->bytes.empty()); });
       rig.files.AnswerAll();
     }},
};

TEST_P(ReadAheadChange, IsSeenByTheNextReadOfEveryShardAndOpenFile) {
  const auto& [change, shard] = GetParam();
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 8 * kMi);
  const OpenId writer = rig.Open("f", O_RDWR, 1);
  const OpenId first = OpenAndWarm(rig, "f", 8, 0);
  const OpenId second = OpenAndWarm(rig, "f", 8, 0);
  const OpenId third = OpenAndWarm(rig, "f", 8, 1);
  ASSERT_GE(rig.read_ahead.memory_bytes(), 1u);
  change.make(rig, writer, shard);
  EXPECT_TRUE(rig.ReadsRight("f", first, 8 * kRead, kRead, 0));
  EXPECT_TRUE(rig.ReadsRight("f", second, 8 * kRead, kRead, 0));
  EXPECT_TRUE(rig.ReadsRight("f", third, 8 * kRead, kRead, 1));
  EXPECT_GE(rig.statistics(0).invalidations + rig.statistics(1).invalidations, 3u);
}

INSTANTIATE_TEST_SUITE_P(ReadAheadLayer, ReadAheadChange,
                         testing::Combine(testing::ValuesIn(kChanges), testing::Values(0u, 1u)),
                         [](const auto& instance) {
                           return std::string(std::get<0>(instance.param).name) + "ThroughShard" +
                                  std::to_string(std::get<1>(instance.param));
                         });

TEST(ReadAheadLayer, DataThatWereReadBeforeAWriteAndComeAfterItAreNotServed) {
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 8 * kMi);
  const OpenId writer = rig.Open("f", O_RDWR, 1);
  const OpenId id = OpenAndWarm(rig, "f", 1);
  rig.Start(id, kRead, kRead);
  for (size_t i = 0; i < rig.files.pending_count(); ++i)
    rig.files.Happen(i);  // the server has read
  std::vector<std::byte> bytes = Bytes(8 * kRead, 7);
  rig.top(1).Write({writer, 0, {absl::MakeSpan(bytes)}}, [](Result<uint64_t>) {});
  rig.files.Answer(rig.files.pending_count() -
                   1);  // the write is done; the old data are on their way
  const auto* after = rig.Start(id, 2 * kRead, kRead);
  rig.files.AnswerAll();
  ASSERT_TRUE(after->ok());
  EXPECT_EQ(after->bytes()[0], std::byte{7});
  EXPECT_GE(rig.statistics().wasted_bytes, kRead);
}

TEST(ReadAheadLayer, NothingIsServedOrFetchedWhileAWriteIsUnderWay) {
  ReadAheadRig rig({.shard_count = 2});
  rig.Make("f", 8 * kMi);
  const OpenId writer = rig.Open("f", O_RDWR, 1);
  const OpenId id = OpenAndWarm(rig, "f", 8);
  std::vector<std::byte> bytes = Bytes(kRead, 7);
  rig.top(1).Write({writer, 8 * kRead, {absl::MakeSpan(bytes)}}, [](Result<uint64_t>) {});
  const uint64_t sent = rig.files.read_count();
  for (uint64_t i = 8; i < 12; ++i) EXPECT_FALSE(rig.Start(id, i * kRead, kRead)->done());
  EXPECT_EQ(rig.files.read_count(), sent + 4) << "the reads themselves and no more";
  rig.files.AnswerAll();
}

TEST(ReadAheadLayer, ThePartsThatWereWrittenBetweenReadsAreNotFetchedInVainForEver) {
  ReadAheadRig rig;
  rig.Make("f", 32 * kMi);
  const OpenId id = rig.Open("f", O_RDWR);
  for (uint64_t i = 0; i < 500; ++i) {  // a program that transforms a file in its place
    ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
    rig.Write(id, i * kRead, Bytes(kRead, static_cast<int>(i)));
  }
  EXPECT_LE(rig.statistics().wasted_bytes * 50, 500 * kRead);
}

TEST(ReadAheadLayer, AttributesThatShowNothingNewDropNothing) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 8);
  for (int i = 0; i < 3; ++i) {
    rig.top().GetAttr({}, rig.files.HandleOf("f"), id, [](Result<Attributes>) {});
    rig.files.AnswerAll();
  }
  EXPECT_TRUE(rig.Start(id, 8 * kRead, kRead)->ok());
  EXPECT_EQ(rig.statistics().invalidations, 0u);
}

TEST(ReadAheadLayer, AFilesChangeLeavesOtherFilesDataAlone) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  rig.Make("other", 8 * kMi);
  const OpenId id = OpenAndWarm(rig, "f", 8);
  rig.Write(rig.Open("other", O_RDWR), 0, Bytes(100, 1));
  EXPECT_TRUE(rig.Start(id, 8 * kRead, kRead)->ok());
}

TEST(ReadAheadLayer, AFileOpenedWithODirectIsNeverServedFromTheCache) {
  ReadAheadRig rig;
  rig.Make("f", 8 * kMi);
  const OpenId id = rig.Open("f", O_DIRECT);
  for (uint64_t i = 0; i < 20; ++i) ASSERT_TRUE(rig.ReadsRight("f", id, i * kRead, kRead));
  EXPECT_EQ(rig.files.read_count(), 20u);
  EXPECT_EQ(rig.statistics().fetched_bytes, 0u);
}

}  // namespace
}  // namespace rdmafs
