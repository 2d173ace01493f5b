// Random reads and changes through two shards over one file, with operations that happen and are
// answered in any order: every read must give bytes that the file had at some moment while it was
// under way.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>

#include <algorithm>
#include <random>

#include "tests/client/read_ahead_rig.h"

namespace rdmafs {
namespace {

// What the file was, from one change to the next.
struct Moment {
  std::vector<std::byte> content;
};

class Model {
 public:
  Model(uint64_t seed, bool sequential)
      : random_(seed),
        sequential_(sequential),
        changes_are_slow_(seed % 2 == 0),
        rig_(
            {.shard_count = 2,
             .read_ahead = {
                 .mode = ReadAheadMode::kOn, .max_window_bytes = kFileBytes, .max_in_flight = 8}}) {
    rig_.Make("f", kFileBytes);
    for (size_t shard : {0u, 1u}) {
      for (int i = 0; i < 2; ++i) ids_.push_back({rig_.Open("f", O_RDWR, shard), shard});
    }
    Remember();
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) Step();
    do {  // a read may wait for what another shard fetched
      while (rig_.files.pending_count() != 0) AnswerOne();
      rig_.Settle();
    } while (rig_.files.pending_count() != 0);
    Check();
    EXPECT_TRUE(reads_.empty()) << "a read was never answered";
  }
  uint64_t hits() { return rig_.statistics(0).hits + rig_.statistics(1).hits; }

 private:
  static constexpr uint64_t kFileBytes = 48 * 1024;
  static constexpr uint32_t kPiece = 512;

  struct Opened {
    OpenId id;
    size_t shard;
    uint64_t position = 0;
  };
  struct PendingRead {
    ReadAheadRig::Answer* answer;
    uint64_t offset;
    uint32_t size;
    size_t first_moment;  // when it was started
  };

  uint64_t Draw(uint64_t below) { return random_() % below; }

  void Remember() {
    moments_.push_back({rig_.files.file("f").content});
    seen_changes_ = rig_.files.file("f").change_count;
  }

  void Step() {
    const uint64_t what = Draw(100);
    if (what < 40) {
      StartRead();
    } else if (what < 42) {
      StartChange();
    } else if (what < 45) {
      Reopen();
    } else if (rig_.files.pending_count() != 0) {
      what < 60 ? HappenOne() : AnswerOne();
    }
    rig_.Settle();
    Check();
  }

  void StartRead() {
    Opened& file = ids_[Draw(ids_.size())];
    uint32_t size = kPiece * static_cast<uint32_t>(1 + Draw(3));
    if (sequential_) size = 2 * kPiece;
    if (Draw(sequential_ ? 40 : 6) == 0 || file.position >= kFileBytes)
      file.position = Draw(kFileBytes / kPiece) * kPiece;
    // The moment is the one of now: nothing happens inside the call.
    reads_.push_back({nullptr, file.position, size, moments_.size() - 1});
    reads_.back().answer = rig_.Start(file.id, file.position, size, file.shard);
    file.position += size;
  }

  void StartChange() {
    const Opened& file = ids_[Draw(ids_.size())];
    FileSystem& top = rig_.top(file.shard);
    const uint64_t offset = Draw(kFileBytes), length = 1 + Draw(4096);
    switch (Draw(4)) {
      case 0: {
        SetAttributes attributes{};
        attributes.valid = wire::kSetSize;
        attributes.size = Draw(kFileBytes);
        top.SetAttr({}, rig_.files.HandleOf("f"), 0, attributes, [](Result<Attributes>) {});
        break;
      }
      case 1:
        top.Fallocate({}, file.id, offset, length, FALLOC_FL_PUNCH_HOLE, [](Result<Unit>) {});
        break;
      default: {
        // Mostly long ones, that keep the file from becoming short.
        std::vector<std::byte> bytes(Draw(2) == 0 ? length : kFileBytes - offset,
                                     static_cast<std::byte>(++written_));
        top.Write({file.id, offset, {absl::MakeSpan(bytes)}}, [](Result<uint64_t>) {});
      }
    }
  }

  void Reopen() {
    Opened& file = ids_[Draw(ids_.size())];
    const size_t other = Draw(2);  // the release may come through either shard
    do {  // nobody releases what they are reading
      while (rig_.files.pending_count() != 0) AnswerOne();
      rig_.Settle();
    } while (rig_.files.pending_count() != 0);
    rig_.top(other).Release(file.id, [](Result<Unit>) {});
    file.id = rig_.top(other).NewOpenId();
    rig_.top(other).Open({}, rig_.files.HandleOf("f"), file.id, O_RDWR, 0,
                         [](Result<Attributes>) {});
    file.shard = other;
    while (rig_.files.pending_count() != 0) AnswerOne();
  }

  void HappenOne() {
    rig_.files.Happen(Draw(rig_.files.pending_count()));
    if (rig_.files.file("f").change_count != seen_changes_) Remember();
  }

  void AnswerOne() {
    const size_t index = Draw(rig_.files.pending_count());
    // Changes take long, so that much is read and fetched while they are under way.
    if (changes_are_slow_ && !rig_.files.pending(index).is_read && Draw(12) != 0) return;
    rig_.files.Happen(index);  // apart, so that the moment is known before anyone is answered
    if (rig_.files.file("f").change_count != seen_changes_) Remember();
    rig_.files.Answer(index);
  }

  void Check() {
    for (size_t i = 0; i < reads_.size();) {
      PendingRead& read = reads_[i];
      if (!read.answer->done()) {
        ++i;
        continue;
      }
      ASSERT_TRUE(IsRight(read)) << "offset " << read.offset << " size " << read.size
                                 << ", moments " << read.first_moment << " to "
                                 << moments_.size() - 1;
      read.answer->result.reset();
      reads_.erase(reads_.begin() + static_cast<ptrdiff_t>(i));
    }
    if (reads_.empty() && moments_.size() > 1) moments_.erase(moments_.begin(), moments_.end() - 1);
  }

  // All of it is what one of the moments had.
  bool IsRight(const PendingRead& read) const {
    if (!read.answer->ok()) return false;
    const absl::Span<const std::byte> bytes = read.answer->bytes();
    for (size_t i = read.first_moment; i < moments_.size(); ++i) {
      const std::vector<std::byte>& content = moments_[i].content;
      const uint64_t from = std::min<uint64_t>(read.offset, content.size());
      const size_t there = std::min<size_t>(read.size, content.size() - from);
      if (bytes.size() == there &&
          std::equal(bytes.begin(), bytes.end(), content.begin() + static_cast<ptrdiff_t>(from))) {
        return true;
      }
    }
    return false;
  }

  std::mt19937_64 random_;
  const bool sequential_, changes_are_slow_;
  ReadAheadRig rig_;
  std::vector<Opened> ids_;
  std::vector<PendingRead> reads_;
  std::vector<Moment> moments_;
  uint64_t seen_changes_ = 0;
  int written_ = 0;
};

class ReadAheadModel : public testing::TestWithParam<bool> {};

TEST_P(ReadAheadModel, EveryReadGivesWhatTheFileWasAtSomeMomentWhileItWasUnderWay) {
  uint64_t hits = 0;
  for (uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Model model(seed, GetParam());
    model.Run(1500);
    hits += model.hits();
  }
  RecordProperty("hits", static_cast<int>(hits));
  EXPECT_GT(hits, 500u) << "the cache must have had a part in it";
}

INSTANTIATE_TEST_SUITE_P(ReadAhead, ReadAheadModel, testing::Bool(), [](const auto& instance) {
  return std::string(instance.param ? "MostlySequential" : "Mixed");
});

}  // namespace
}  // namespace rdmafs
