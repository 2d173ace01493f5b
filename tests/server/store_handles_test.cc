// Handles: forged, foreign, stale ones; what survives a restart; the bounds of cache and table.
#include <thread>
#include <vector>

#include "server/handle_codec.h"
#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

class StoreHandles : public StoreTest {};
RDMAFS_IN_ALL_PLACES(StoreHandles);

TEST_P(StoreHandles, AHandleWithAnyBitChangedIsRefused) {
  const StoreEntry file = MakeFile(kAlice, "f");
  ASSERT_TRUE(store_->GetAttr(kAlice, file.handle, nullptr).ok());
  for (size_t bit = 0; bit < file.handle.size_bytes * size_t{8}; ++bit) {
    wire::FileHandle forged = file.handle;
    forged.bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_EQ(ErrorOf(store_->GetAttr(kRoot, forged, nullptr)), EBADF) << "bit " << bit;
  }
}

TEST_P(StoreHandles, HandlesOfAnySizeAreChecked) {
  const StoreEntry file = MakeFile(kAlice, "f");
  for (uint16_t size = 0; size <= wire::kMaxHandleBytes; ++size) {
    wire::FileHandle forged = file.handle;
    forged.size_bytes = size;
    if (size != file.handle.size_bytes) {
      ASSERT_EQ(ErrorOf(store_->GetAttr(kRoot, forged, nullptr)), EBADF) << size;
    }
  }
  wire::FileHandle beyond = file.handle;
  beyond.size_bytes = 65535;
  EXPECT_EQ(ErrorOf(store_->GetAttr(kRoot, beyond, nullptr)), EBADF);
}

TEST_P(StoreHandles, HandlesOfAnotherExportOrKeyAreForeign) {
  const StoreEntry file = MakeFile(kAlice, "f");
  options_.export_id = 8;
  Restart();
  EXPECT_EQ(ErrorOf(store_->GetAttr(kRoot, file.handle, nullptr)), EBADF);
  options_.export_id = 7;
  options_.key = {9};
  Restart();
  EXPECT_EQ(ErrorOf(store_->GetAttr(kRoot, file.handle, nullptr)), EBADF);
}

TEST_P(StoreHandles, ASignedHandleThatNamesNothingIsNoCrash) {
  const HandleCodec codec(options_.key, options_.export_id);
  const uint64_t file_system = codec.Decode(root_)->file_system;
  for (int kind = 0; kind < 6; ++kind) {
    for (size_t size :
         {size_t{0}, size_t{3}, size_t{4}, size_t{12}, size_t{24}, HandleCodec::kMaxObjectBytes}) {
      const std::string object(size, '\x7f');
      const auto handle = codec.Encode({static_cast<HandleKind>(kind), file_system, object});
      const int error = ErrorOf(store_->GetAttr(kRoot, handle, nullptr));
      if (kind == static_cast<int>(HandleKind::kRoot)) continue;
      EXPECT_TRUE(error == EBADF || error == ESTALE || error == EINVAL)
          << kind << " " << size << " " << error;
    }
  }
  EXPECT_EQ(ErrorOf(store_->GetAttr(kRoot, codec.Encode({HandleKind::kRoot, file_system + 1, {}}),
                                    nullptr)),
            ESTALE);
}

TEST_P(StoreHandles, AGoneObjectIsStale) {
  const StoreEntry file = MakeFile(kAlice, "f"), directory = MakeDir(kAlice, "d");
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "f").ok());
  ASSERT_TRUE(store_->RmDir(kAlice, root_, "d").ok());
  if (table()) {
    store_->Forget(file.handle);
    store_->Forget(directory.handle);
  }
  EXPECT_EQ(ErrorOf(store_->GetAttr(kAlice, file.handle, nullptr)), ESTALE);
  EXPECT_EQ(ErrorOf(store_->Open(kAlice, file.handle, O_RDONLY, false)), ESTALE);
  EXPECT_EQ(ErrorOf(store_->Lookup(kAlice, directory.handle, "x")), ESTALE);
}

TEST_P(StoreHandles, AnInodeThatIsUsedAgainIsNotTheOldObject) {
  const StoreEntry first = MakeFile(kAlice, "f");
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "f").ok());
  store_->Forget(first.handle);
  for (int i = 0; i < 50; ++i) {
    const StoreEntry next = MakeFile(kAlice, "f" + std::to_string(i));
    EXPECT_FALSE(next.handle == first.handle);
  }
  EXPECT_EQ(ErrorOf(store_->GetAttr(kAlice, first.handle, nullptr)), ESTALE);
}

TEST_P(StoreHandles, HandlesSurviveARestartAndInATableComeBackWithTheirName) {
  const StoreEntry file = MakeFile(kAlice, "f", "text");
  const wire::FileHandle root = root_;
  Restart();
  EXPECT_EQ(root_, root);
  EXPECT_EQ(store_->handles_survive_restart(), !table());
  if (table()) {
    EXPECT_EQ(ErrorOf(store_->GetAttr(kAlice, file.handle, nullptr)), ESTALE);
    ASSERT_TRUE(store_->Lookup(kAlice, root_, "f").ok());
  }
  auto opened = store_->Open(kAlice, file.handle, O_RDONLY, false);
  ASSERT_TRUE(opened.ok()) << opened.error().ToString();
  EXPECT_EQ(Get(*opened->file), "text");
}

TEST_P(StoreHandles, OpeningByHandleWorksForUsersToo) {
  const StoreEntry file = MakeFile(kAlice, "f", "text", 0600);
  Restart();
  if (table()) {
    ASSERT_TRUE(store_->Lookup(kAlice, root_, "f").ok());
  }
  EXPECT_TRUE(store_->GetAttr(kBob, file.handle, nullptr).ok());
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDONLY, false)), EACCES);
  EXPECT_TRUE(store_->Open(kAlice, file.handle, O_RDONLY, false).ok());
}

TEST_P(StoreHandles, CacheAndTableAreBounded) {
  options_.fd_cache.capacity = 32;
  options_.table_capacity = 32;
  Restart();
  std::vector<StoreEntry> files;
  for (int i = 0; i < 200; ++i) files.push_back(MakeFile(kAlice, "f" + std::to_string(i)));
  EXPECT_LE(store_->open_objects(), 32u);
  size_t stale = 0;
  for (const StoreEntry& file : files) {
    const int error = ErrorOf(store_->GetAttr(kAlice, file.handle, nullptr));
    EXPECT_TRUE(error == 0 || error == ESTALE);
    stale += error == ESTALE;
  }
  EXPECT_EQ(stale, table() ? 200 - store_->open_objects() : 0);
  EXPECT_TRUE(store_->Lookup(kAlice, root_, "f0").ok()) << "the export itself is never stale";
  EXPECT_TRUE(store_->GetAttr(kAlice, files[0].handle, nullptr).ok())
      << "and what is looked up again is back";
}

TEST_P(StoreHandles, WhatAClientForgetsMakesRoomFirst) {
  if (!table()) return;  // nothing to free
  options_.table_capacity = 16;
  Restart();
  // All in one shard or not: each holds one; a forgotten object goes, whichever it is.
  const StoreEntry file = MakeFile(kAlice, "kept");
  store_->Forget(file.handle);
  EXPECT_TRUE(store_->GetAttr(kAlice, file.handle, nullptr).ok())
      << "another client may still use it";
  store_->Forget(file.handle);
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "kept").ok());
  EXPECT_EQ(store_->open_objects(), 0u);
}

TEST_P(StoreHandles, ManyThreadsActAsManyUsersAtOnce) {
  constexpr int kThreads = 4, kRounds = 100;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto id = static_cast<uint32_t>(2000 + (t + i) % 3);
        const Identity user{id, id + 1000, i % 2 == 0 ? 0022u : 0077u, {}};
        const std::string name = "f" + std::to_string(t) + "-" + std::to_string(i % 5);
        auto made = store_->Create(user, root_, name, O_RDWR | O_EXCL, 0666, false);
        ASSERT_TRUE(made.ok()) << made.error().ToString();
        EXPECT_EQ(made->entry.attributes.uid, id);
        EXPECT_EQ(made->entry.attributes.gid, id + 1000);
        EXPECT_EQ(made->entry.attributes.mode & 0777, i % 2 == 0 ? 0644u : 0600u);
        ASSERT_TRUE(store_->Lookup(user, root_, name).ok());
        ASSERT_TRUE(store_->Unlink(user, root_, name).ok());
        store_->Forget(made->entry.handle);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(PosixStoreOpen, SaysWhatIsWrongWithThePath) {
  MonotonicClock clock;
  PosixStoreOptions options;
  options.clock = &clock;
  options.path = "/nonexistent/export";
  EXPECT_THAT(std::string(PosixStore::Open(options).status().message()),
              testing::HasSubstr("/nonexistent/export: ENOENT"));
  options.path = "/etc/passwd";
  EXPECT_THAT(std::string(PosixStore::Open(options).status().message()),
              testing::HasSubstr("ENOTDIR"));
}

}  // namespace
}  // namespace rdmafs
