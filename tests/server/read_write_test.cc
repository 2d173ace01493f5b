// The data path: reads and writes of every size, at once, on a worker, and when the pool is empty.
#include <fcntl.h>
#include <sys/mman.h>

#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

std::string Pattern(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 131 + i / 4096);
  return bytes;
}

class ReadWriteTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    client_ = Connect();
    root_ = client_->Enter();
  }
  void TearDown() override { client_.reset(); }

  void OpenFile(const std::string& name, const std::string& content, wire::OpenId id,
                uint32_t flags = O_RDWR) {
    store_->Put(name, content);
    ASSERT_EQ(client_->Open(client_->Lookup(root_, name), id, flags), kOk);
  }

  // Reads into a sink, or inline when it is small.
  std::string Read(wire::OpenId id, uint64_t offset, uint32_t size) {
    if (size <= wire::kMaxInlineBytes) {
      return client_->Ask(wire::ReadRequest{id, offset, size}).inline_payload;
    }
    RawClient::Payload sink = Sink(size);
    const Buffer kept = sink.hold;
    auto answer = client_->Ask(wire::ReadRequest{id, offset, size}, std::move(sink));
    EXPECT_EQ(answer.status(), kOk);
    return std::string(reinterpret_cast<const char*>(kept.data()), answer.header.remote_size);
  }

  uint64_t Write(wire::OpenId id, uint64_t offset, const std::string& content) {
    const wire::WriteRequest request{id, offset, static_cast<uint32_t>(content.size())};
    auto answer = content.size() <= wire::kMaxInlineBytes
                      ? client_->Ask(request, {.inline_payload = content})
                      : client_->Ask(request, Source(content));
    EXPECT_EQ(answer.status(), kOk);
    return answer.Decode<wire::CountReply>().count;
  }

  std::unique_ptr<RawClient> client_;
  wire::FileHandle root_;
};

TEST_F(ReadWriteTest, ReadsGiveTheBytesWhateverTheirSize) {
  const std::string content = Pattern(3 << 20);
  OpenFile("f", content, 5);
  for (uint32_t size : {1u, 100u, 4095u, 4096u, 4097u, 65536u, 1u << 20}) {
    EXPECT_EQ(Read(5, 12345, size), content.substr(12345, size)) << size;
  }
}

class OpenAndReadTest : public ReadWriteTest {
 protected:
  // What comes with the answer to an open that asks for so many bytes.
  std::string OpenAndRead(uint32_t size, uint32_t flags = O_RDONLY) {
    const wire::OpenRequest request{{}, client_->Lookup(root_, "f"), ++last_id_, flags, 0, size};
    RawClient::Payload sink = size <= wire::kMaxInlineBytes ? RawClient::Payload{} : Sink(size);
    const Buffer kept = sink.hold;
    auto answer = client_->Ask(request, std::move(sink));
    EXPECT_EQ(answer.status(), kOk);
    EXPECT_EQ(answer.Decode<wire::AttributesReply>().attributes.size, store_->Get("f").size());
    if (size <= wire::kMaxInlineBytes) return answer.inline_payload;
    return std::string(reinterpret_cast<const char*>(kept.data()), answer.header.remote_size);
  }
  wire::OpenId last_id_ = 0;
};

TEST_F(OpenAndReadTest, ASmallFilesBytesComeWithItsOpen) {
  for (size_t size : {1u, 100u, 4095u, 4096u, 4097u, 65536u}) {
    store_->Put("f", Pattern(size));
    EXPECT_EQ(OpenAndRead(wire::kMaxOpenReadBytes), Pattern(size));
    if (size <= wire::kMaxInlineBytes) EXPECT_EQ(OpenAndRead(4096), Pattern(size));
  }
}

TEST_F(OpenAndReadTest, OfALargerFileNoneCome) {
  store_->Put("f", Pattern(101));
  EXPECT_EQ(OpenAndRead(100), "");
  EXPECT_EQ(Read(last_id_, 0, 200), Pattern(101)) << "it is open all the same";
}

TEST_F(OpenAndReadTest, WhatCannotBeReadIsOpenAllTheSame) {
  store_->Put("f", "content");
  store_->reads_fail = true;
  EXPECT_EQ(OpenAndRead(100), "");
}

// The copy that the store's own calls would see is another, so it is known which bytes these are.
TEST_F(ReadWriteTest, ALargeReadOfWhatIsInMemoryIsSentFromTheFileItself) {
  const std::string content = Pattern(3 << 20);
  store_->with_descriptors = true;
  store_->bytes_in_memory = content.size();
  OpenFile("f", content, 5);
  store_->Put("f", std::string(content.size(), 'c'));
  for (uint32_t size : {128u << 10, 1u << 20}) {
    EXPECT_TRUE(Read(5, 12345, size) == content.substr(12345, size)) << size;
  }
  EXPECT_EQ(Read(5, 0, 8192), std::string(8192, 'c'));
  EXPECT_EQ(Read(5, content.size() - 5000, 1 << 20), std::string(5000, 'c'));  // over its end
  store_->bytes_in_memory = 0;
  EXPECT_TRUE(Read(5, 0, 1 << 20) == std::string(1 << 20, 'c'));
}

TEST_F(ReadWriteTest, ALargeWriteToWhatIsInMemoryGoesIntoTheFileItself) {
  const std::string content = Pattern(2 << 20);
  store_->with_descriptors = true;
  store_->bytes_in_memory = content.size();
  OpenFile("f", std::string(content.size(), 'c'), 5);
  for (size_t at : {size_t{0}, size_t{1} << 20})
    EXPECT_EQ(Write(5, at, content.substr(at, 1 << 20)), 1u << 20);
  EXPECT_EQ(store_->Get("f"), std::string(content.size(), 'c'));
  for (uint32_t at : {0u, 1u << 20})
    EXPECT_TRUE(Read(5, at, 1 << 20) == content.substr(at, 1 << 20));
  store_->Put("g", "");
  ASSERT_EQ(client_->Open(client_->Lookup(root_, "g"), 6, O_RDONLY), kOk);
  EXPECT_EQ(
      client_->Ask(wire::WriteRequest{6, 0, 1 << 20}, Source(content.substr(0, 1 << 20))).status(),
      Errno(EBADF));
}

// It acts as the caller, who may be allowed more than the shard's thread: a quota, say.
TEST_F(ReadWriteTest, WhatTheFileItselfDoesNotTakeIsTheStoresToWrite) {
  constexpr size_t kRoom = 300'000;
  std::string content = Pattern(1 << 20);
  for (char& byte : content) byte |= 1;
  UniqueFd file(memfd_create("rdmafs-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(file.get(), kRoom), 0);
  ASSERT_EQ(fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW), 0);
  store_->descriptor = file.get();
  store_->bytes_in_memory = content.size();
  OpenFile("f", "", 5);
  EXPECT_EQ(Write(5, 0, content), content.size());
  std::string taken(kRoom, '\0');
  ASSERT_EQ(pread(file.get(), taken.data(), kRoom, 0), static_cast<ssize_t>(kRoom));
  const size_t first = store_->Get("f").find_first_not_of('\0');  // of the store's own
  EXPECT_GT(first, 0u);
  EXPECT_LE(first, kRoom);
  EXPECT_TRUE(taken.substr(0, first) == content.substr(0, first));
  EXPECT_TRUE(store_->Get("f").substr(first) == content.substr(first));
}

TEST_F(ReadWriteTest, AReadOverTheEndIsShortAndOneBehindItIsEmpty) {
  const std::string content = Pattern(10000);
  OpenFile("f", content, 5);
  EXPECT_EQ(Read(5, 9990, 100), content.substr(9990));
  EXPECT_EQ(Read(5, 5000, 8192), content.substr(5000));
  EXPECT_EQ(Read(5, 10000, 8192), "");
  EXPECT_EQ(Read(5, uint64_t{1} << 62, 100), "");
  EXPECT_EQ(client_->Ask(wire::ReadRequest{5, UINT64_MAX, 100}).status(), Errno(EINVAL));
  EXPECT_EQ(client_->Ask(wire::WriteRequest{5, UINT64_MAX, 3}, {.inline_payload = "abc"}).status(),
            Errno(EINVAL));
  EXPECT_EQ(Read(5, 0, 0), "");
}

TEST_F(ReadWriteTest, WritesArriveWhateverTheirSize) {
  OpenFile("f", "", 5);
  std::string expected;
  for (size_t size : {1ul, 100ul, 4095ul, 4096ul, 4097ul, 65536ul, 1ul << 20}) {
    const std::string content = Pattern(size);
    EXPECT_EQ(Write(5, expected.size(), content), size);
    expected += content;
  }
  EXPECT_TRUE(store_->Get("f") == expected);
}

TEST_F(ReadWriteTest, AWriteOfNothingWritesNothing) {
  OpenFile("f", "abc", 5);
  EXPECT_EQ(Write(5, 1, ""), 0u);
  EXPECT_EQ(store_->Get("f"), "abc");
}

TEST_F(ReadWriteTest, WhatWouldWaitIsDoneByAWorker) {
  const std::string content = Pattern(100000);
  OpenFile("f", "", 5);
  store_->no_wait_would_wait = true;
  EXPECT_EQ(Write(5, 0, content), content.size());
  EXPECT_EQ(Write(5, content.size(), "tail"), 4u);
  EXPECT_EQ(Read(5, 0, 100000), content);
  EXPECT_EQ(Read(5, 100000, 10), "tail");
}

// Where the ring is not allowed, the same by a worker; the gate tells them apart.
TEST_F(ReadWriteTest, WhatWouldWaitIsDoneByTheRingWhereThereIsOne) {
  const std::string content = Pattern(100000), more = Pattern(70000);
  const bool ring = IoRing::FindObstacle().empty();
  store_->with_descriptors = true;
  store_->no_wait_would_wait = true;
  OpenFile("f", content, 5);
  if (ring) store_->gate.Close();
  EXPECT_EQ(Read(5, 0, 4096), content.substr(0, 4096));
  EXPECT_EQ(Read(5, 50000, 1 << 20), content.substr(50000));  // to the end
  EXPECT_EQ(Read(5, 100000, 8192), "");
  EXPECT_EQ(Write(5, 100000, more), more.size());
  EXPECT_EQ(Write(5, 170000, "tail"), 4u);
  EXPECT_EQ(Read(5, 0, 1 << 20), content + more + "tail");
  store_->gate.Open();
}

TEST_F(ReadWriteTest, AnErrorOfTheRingIsTheSystemCallsToReport) {
  store_->with_descriptors = true;
  store_->no_wait_would_wait = true;
  OpenFile("f", "abc", 5, O_WRONLY);
  RawClient::Payload sink = Sink(8192);
  EXPECT_EQ(client_->Ask(wire::ReadRequest{5, 0, 8192}, std::move(sink)).status(), Errno(EBADF));
}

TEST_F(ReadWriteTest, ErrorsOfTheFileReachTheClient) {
  OpenFile("f", "abc", 5, O_WRONLY);
  EXPECT_EQ(client_->Ask(wire::ReadRequest{5, 0, 10}).status(), Errno(EBADF));
  OpenFile("g", "abc", 6, O_RDONLY);
  EXPECT_EQ(client_->Ask(wire::WriteRequest{6, 0, 3}, {.inline_payload = "xyz"}).status(),
            Errno(EBADF));
  EXPECT_EQ(
      client_->Ask(wire::WriteRequest{5, uint64_t{1} << 40, 3}, {.inline_payload = "xyz"}).status(),
      Errno(EFBIG));
  EXPECT_EQ(client_->Ask(wire::ReadRequest{77, 0, 10}).status(), Errno(EBADF));
}

TEST_F(ReadWriteTest, AppendsKeepTheOrderInWhichTheyCame) {
  OpenFile("f", "", 5, O_RDWR | O_APPEND);
  store_->gate.Close();
  std::string expected;
  for (uint16_t slot = 0; slot < 32; ++slot) {
    const std::string line = "line " + std::to_string(slot) + "\n";
    expected += line;
    client_->Send(wire::WriteRequest{5, 0, static_cast<uint32_t>(line.size())}, slot,
                  {.inline_payload = line});
  }
  client_->Send(wire::PingRequest{}, 40);
  client_->Wait(40);
  store_->gate.AwaitWaiting(1);
  EXPECT_EQ(store_->gate.waiting_count(), 1);  // one at a time
  store_->gate.Open();
  for (uint16_t slot = 0; slot < 32; ++slot) EXPECT_EQ(client_->Wait(slot).status(), kOk);
  EXPECT_EQ(store_->Get("f"), expected);
}

TEST_F(ReadWriteTest, ACopyIsDoneHere) {
  const std::string content = Pattern(50000);
  OpenFile("f", content, 5);
  OpenFile("g", "", 6);
  auto answer = client_->Ask(wire::CopyFileRangeRequest{{}, 5, 100, 6, 0, 40000});
  ASSERT_EQ(answer.status(), kOk);
  EXPECT_EQ(answer.Decode<wire::CountReply>().count, 40000u);
  EXPECT_TRUE(store_->Get("g") == content.substr(100, 40000));
}

TEST_F(ReadWriteTest, XattrsGoEveryWay) {
  store_->Put("f", "");
  const wire::FileHandle file = client_->Lookup(root_, "f");
  const std::string large = Pattern(20000);
  ASSERT_EQ(
      client_->Ask(wire::SetXattrRequest{{}, file, "user.small"}, {.inline_payload = "v"}).status(),
      kOk);
  ASSERT_EQ(client_->Ask(wire::SetXattrRequest{{}, file, "user.large"}, Source(large)).status(),
            kOk);
  auto size = client_->Ask(wire::GetXattrRequest{{}, file, "user.large", 0});
  EXPECT_EQ(size.Decode<wire::CountReply>().count, large.size());
  EXPECT_EQ(client_->Ask(wire::GetXattrRequest{{}, file, "user.small", 100}).inline_payload, "v");
  RawClient::Payload sink = Sink(65536);
  const Buffer kept = sink.hold;
  auto value = client_->Ask(wire::GetXattrRequest{{}, file, "user.large", 65536}, std::move(sink));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(kept.data()), value.header.remote_size),
            large);
  EXPECT_EQ(client_->Ask(wire::ReadLinkRequest{{}, file}).inline_payload, "a target");
}

// A pool of one slab: two blocks.
class SmallPoolTest : public ReadWriteTest {
 protected:
  SmallPoolTest() { pool_bytes_ = 1; }
};

TEST_F(SmallPoolTest, CallsWaitForABlockAndNobodyGetsAnError) {
  const std::string content = Pattern(1 << 20);
  OpenFile("f", content, 5);
  store_->gate.Close();
  store_->no_wait_would_wait = true;
  const size_t blocks =
      blocks_->statistics().block_count == 0 ? 1 : blocks_->statistics().block_count;
  std::vector<Buffer> kept;
  for (uint16_t slot = 0; slot < 8; ++slot) {
    RawClient::Payload sink = Sink(1 << 20);
    kept.push_back(sink.hold);
    client_->Send(wire::ReadRequest{5, 0, 1 << 20}, slot, std::move(sink));
  }
  client_->Send(wire::PingRequest{}, 40);
  client_->Wait(40);  // what needs no block is served
  store_->gate.AwaitWaiting(static_cast<int>(blocks));
  EXPECT_LE(store_->gate.waiting_count(), 2);
  EXPECT_GT(blocks_->statistics().empty_count, 0u);
  store_->gate.Open();
  for (uint16_t slot = 0; slot < 8; ++slot) {
    auto answer = client_->Wait(slot);
    EXPECT_EQ(answer.status(), kOk);
    EXPECT_EQ(answer.header.remote_size, content.size());
    EXPECT_TRUE(
        std::equal(content.begin(), content.end(), reinterpret_cast<char*>(kept[slot].data())));
  }
}

TEST_F(SmallPoolTest, WhatIsSentFromAFileNeedsNoBlock) {
  const std::string content = Pattern(1 << 20);
  store_->with_descriptors = true;
  store_->bytes_in_memory = content.size();
  OpenFile("f", content, 5);
  std::vector<Buffer> taken;
  while (Buffer block = blocks_->Take()) taken.push_back(std::move(block));
  EXPECT_TRUE(Read(5, 0, 1 << 20) == content);
}

TEST_F(SmallPoolTest, AClientThatLeavesWhileItWaitsForABlockHarmsNobody) {
  const std::string content = Pattern(1 << 20);
  OpenFile("f", content, 5);
  store_->gate.Close();
  store_->no_wait_would_wait = true;
  for (uint16_t slot = 0; slot < 8; ++slot) {
    client_->Send(wire::ReadRequest{5, 0, 1 << 20}, slot, Sink(1 << 20));
  }
  store_->gate.AwaitWaiting(1);
  client_.reset();
  store_->gate.Open();
  client_ = Connect();
  root_ = client_->Enter();
  store_->no_wait_would_wait = false;
  OpenFile("g", content, 6);
  EXPECT_TRUE(Read(6, 0, 1 << 20) == content);
}

class ReadOnlyTest : public ReadWriteTest {
 protected:
  ReadOnlyTest() { exports_.read_only = true; }
};

TEST_F(ReadOnlyTest, EverythingThatChangesIsRefusedBeforeTheStore) {
  store_->Put("f", "abc");
  const wire::FileHandle file = client_->Lookup(root_, "f");
  EXPECT_EQ(client_->Open(file, 5, O_RDONLY), kOk);
  EXPECT_EQ(client_->Open(file, 6, O_RDWR), Errno(EROFS));
  EXPECT_EQ(client_->Open(file, 6, O_RDONLY | O_TRUNC), Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::CreateRequest{{}, root_, "g", 6, O_RDWR, 0644}).status(),
            Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::UnlinkRequest{{}, root_, "f"}).status(), Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::MkNodRequest{{}, root_, "g", 0100644}).status(), Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::RenameRequest{{}, root_, "f", root_, "g"}).status(), Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::SetAttrRequest{{}, file, 0}).status(), Errno(EROFS));
  EXPECT_EQ(
      client_->Ask(wire::SetXattrRequest{{}, file, "user.a"}, {.inline_payload = "v"}).status(),
      Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::WriteRequest{5, 0, 3}, {.inline_payload = "xyz"}).status(),
            Errno(EROFS));
  EXPECT_EQ(client_->Ask(wire::AccessRequest{{}, file, 2}).status(), Errno(EROFS));
  EXPECT_EQ(store_->Get("f"), "abc");
}

}  // namespace
}  // namespace rdmafs::server
