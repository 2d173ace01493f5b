#include "client/layer.h"

#include <gtest/gtest.h>

#include <vector>

#include "client/reply_chain.h"
#include "tests/client/example_layer.h"
#include "tests/client/memory_file_system.h"

namespace rdmafs {
namespace {

class NoOpLayer final : public Layer {
 public:
  using Layer::Layer;
};

// Counts calls, and remembers the last one's name.
class NamingFileSystem final : public RefusingFileSystem {
 public:
  void Lookup(const Caller&, const FileHandle&, std::string_view name,
              Reply<Entry> reply) override {
    seen = std::string(name);
    reply.Complete(Errno(ENOENT));
  }
  CancelToken SetLock(OpenId, const LockRange&, uint32_t, Reply<Unit> reply) override {
    reply.Complete(Errno(EAGAIN));
    return 77;
  }
  std::string seen;
};

TEST(Layer, ALayerThatOverridesNothingForwardsCallsAnswersAndReturnValues) {
  NamingFileSystem next;
  NoOpLayer layer(next);
  Errno error;
  layer.Lookup({}, {}, "name", [&](Result<Entry> result) { error = result.error(); });
  EXPECT_EQ(next.seen, "name");
  EXPECT_EQ(error, Errno(ENOENT));
  const CancelToken token =
      layer.SetLock(1, {}, 0, [&](Result<Unit> result) { error = result.error(); });
  EXPECT_EQ(token, 77u);
  EXPECT_EQ(error, Errno(EAGAIN));
  const OpenId first = layer.NewOpenId();
  EXPECT_EQ(layer.NewOpenId(), first + 1);
}

TEST(Layer, EveryOperationReachesTheNextOne) {
  RefusingFileSystem next;
  NoOpLayer layer(next);
  int refused = 0;
  auto count = [&](auto result) { refused += result.error() == Errno(ENOSYS); };
  layer.Lookup({}, {}, "", count);
  layer.Forget({});
  layer.GetAttr({}, {}, 0, count);
  layer.SetAttr({}, {}, 0, {}, count);
  layer.ReadLink({}, {}, count);
  layer.MkNod({}, {}, "", 0, 0, 0, count);
  layer.MkDir({}, {}, "", 0, count);
  layer.Unlink({}, {}, "", count);
  layer.RmDir({}, {}, "", count);
  layer.SymLink({}, {}, "", "", count);
  layer.Rename({}, {}, "", {}, "", 0, count);
  layer.Link({}, {}, {}, "", count);
  layer.Access({}, {}, 0, count);
  layer.StatFs({}, {}, count);
  layer.SyncFs({}, {}, count);
  layer.Open({}, {}, 1, 0, 0, count);
  layer.Create({}, {}, "", 1, 0, 0, 0, count);
  layer.TmpFile({}, {}, 1, 0, 0, count);
  layer.Release(1, count);
  layer.Read({}, count);
  layer.Write({}, count);
  layer.Fsync(1, false, count);
  layer.Fallocate({}, 1, 0, 0, 0, count);
  layer.Seek(1, 0, 0, count);
  layer.CopyFileRange({}, {}, count);
  layer.ReadDir({}, {}, count);
  layer.GetXattr({}, {}, "", 0, {}, count);
  layer.ListXattr({}, {}, 0, {}, count);
  layer.SetXattr({}, {}, "", {}, 0, 0, count);
  layer.RemoveXattr({}, {}, "", count);
  layer.GetLock(1, {}, 0, count);
  layer.SetLock(1, {}, 0, count);
  layer.CancelLock(0);
  layer.ReleaseOwner(1, 0, count);
  EXPECT_EQ(refused, 32);
}

TEST(Layer, TheExampleOfTenLinesCountsTheBytesRead) {
  MemoryFileSystem files;
  files.set_immediate(true);
  files.file("f").content.resize(100);
  MemoryFileSystem::Next next(files);
  CountingLayer layer(next);
  layer.Open({}, files.HandleOf("f"), 1, 0, 0, [](Result<Attributes>) {});
  std::vector<std::byte> memory(64);
  for (uint64_t offset : {0u, 64u, 128u}) {
    layer.Read({1, offset, 64, {absl::MakeSpan(memory)}}, [](Result<Payload>) {});
  }
  EXPECT_EQ(layer.bytes(), 100u);
}

TEST(ReplyChain, AnOperationsRoomIsUsedAgain) {
  ReplyChain<Unit> chain;
  int seen = 0, answered = 0;
  for (int i = 0; i < 1000; ++i) {
    Reply<Unit> wrapped =
        chain.Wrap([&](Result<Unit>) { ++answered; }, [&](Result<Unit>&) { ++seen; });
    wrapped.Complete(Unit{});
  }
  EXPECT_EQ(seen, 1000);
  EXPECT_EQ(answered, 1000);
  EXPECT_EQ(chain.used_count(), 0u);
  EXPECT_EQ(chain.capacity(), 32u);  // one allocation's worth
}

TEST(ReplyChain, TheLookComesFirstAndMayChangeTheResult) {
  ReplyChain<uint64_t> chain;
  uint64_t got = 0;
  Reply<uint64_t> wrapped = chain.Wrap([&](Result<uint64_t> result) { got = *result; },
                                       [](Result<uint64_t>& result) { *result += 1; });
  wrapped.Complete(uint64_t{41});
  EXPECT_EQ(got, 42u);
}

TEST(ReplyChain, AWrappedReplyThatIsDroppedAnswersEio) {
  ReplyChain<Unit> chain;
  Errno error;
  {
    Reply<Unit> dropped =
        chain.Wrap([&](Result<Unit> r) { error = r.error(); }, [](Result<Unit>&) {});
  }
  EXPECT_EQ(error, Errno(EIO));
  EXPECT_EQ(chain.used_count(), 0u);
}

TEST(ReplyChain, AnAnswerMayStartTheNextOperation) {
  ReplyChain<Unit> chain;
  int left = 5;
  std::function<void()> start = [&] {
    Reply<Unit> wrapped = chain.Wrap(
        [&](Result<Unit>) {
          if (--left > 0) start();
        },
        [](Result<Unit>&) {});
    wrapped.Complete(Unit{});
  };
  start();
  EXPECT_EQ(left, 0);
}

}  // namespace
}  // namespace rdmafs
