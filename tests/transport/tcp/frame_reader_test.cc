// FrameReader: any stream of frames, cut anywhere and read in any mode, comes out as it went in.
#include "transport/tcp/frame_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/transport/tcp/tcp_pair.h"

namespace rdmafs {
namespace {

using Event = FrameReader::Event;

constexpr int kFrames = 400;

struct Frame {
  std::string message;
  std::string payload;
};

std::string RandomBytes(std::mt19937& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::vector<Frame> RandomFrames(std::mt19937& random) {
  std::vector<Frame> frames;
  for (int i = 0; i < kFrames; ++i) {
    wire::MessageHeader header{};
    header.opcode = 3;
    header.sequence = static_cast<uint32_t>(i);
    Frame frame;
    if (random() % 4 == 0) {
      frame.payload = RandomBytes(random, 1 + random() % (random() % 2 == 0 ? 300 : 200'000));
      header.flags = wire::kFlagSource;
      header.remote_size = static_cast<uint32_t>(frame.payload.size());
    }
    frame.message =
        MessageBytes(header, RandomBytes(random, random() % 3 == 0 ? random() % 2049 : 0),
                     RandomBytes(random, random() % 3 == 0 ? random() % 4097 : 0));
    frames.push_back(std::move(frame));
  }
  return frames;
}

// Writes `bytes` in pieces of any size.
void Dribble(const UniqueFd& fd, const std::string& bytes, uint32_t seed) {
  std::mt19937 random(seed);
  for (size_t at = 0; at < bytes.size();) {
    const size_t piece =
        std::min<size_t>(bytes.size() - at, 1 + random() % (random() % 8 == 0 ? 100'000 : 500));
    SendAll(fd, std::string_view(bytes).substr(at, piece));
    at += piece;
  }
}

class FrameReaderTest : public testing::TestWithParam<uint32_t> {};

TEST_P(FrameReaderTest, FramesComeOutAsTheyWentIn) {
  SCOPED_TRACE(testing::Message() << "seed " << GetParam());
  std::mt19937 random(GetParam());
  const std::vector<Frame> frames = RandomFrames(random);
  std::string bytes;
  for (const Frame& frame : frames) bytes += frame.message + frame.payload;
  TcpPair pair = MakeTcpPair();
  std::thread writer([&] { Dribble(pair.raw, bytes, GetParam()); });

  StagingPool pool;
  {
    SocketStream stream(pair.ours.get());
    FrameReader reader(pool, /*expect_reply=*/false);
    std::vector<ReceivedMessage> held;  // some are kept, so that blocks stay in use
    std::string payload;
    size_t head = 0, next = 0;
    bool skipped = false, to_file = false;
    const UniqueFd file(memfd_create("frame_reader_test", MFD_CLOEXEC));
    while (next < frames.size()) {
      const Event event = reader.Next(stream);
      if (event == Event::kDrained) {
        pollfd entry{pair.ours.get(), POLLIN, 0};
        ASSERT_EQ(poll(&entry, 1, 20'000), 1);
        reader.MarkReadable(/*ending=*/false);
        continue;
      }
      const Frame& frame = frames[next];
      if (event == Event::kPayload) {
        ASSERT_TRUE(skipped || reader.written_through() == (to_file ? payload.size() : 0));
        if (to_file) {
          ASSERT_EQ(pread(file.get(), payload.data(), payload.size(), 1234),
                    static_cast<ssize_t>(payload.size()));
        }
        ASSERT_TRUE(skipped || payload == frame.payload) << "frame " << next;
        ++next;
        continue;
      }
      ASSERT_EQ(event, Event::kMessage) << "frame " << next;
      ReceivedMessage message = reader.TakeMessage();
      ASSERT_EQ(frame.message.size(), message.header().size);
      std::string tail(reinterpret_cast<const char*>(message.body().data()), message.body().size());
      tail.append(reinterpret_cast<const char*>(message.inline_payload().data()),
                  message.inline_payload().size());
      ASSERT_EQ(frame.message.substr(sizeof(wire::MessageHeader)), tail) << "frame " << next;
      if (random() % 3 == 0) held.push_back(std::move(message));
      if (held.size() > 40) held.erase(held.begin(), held.begin() + 30);
      if (random() % 2 == 0) {
        reader.ReadExactly(40 + random() % 100);
      } else {
        reader.ReadInBatches();
      }
      if (frame.payload.empty()) {
        ++next;
        continue;
      }
      const auto swallowed = reader.TakeSwallowed(frame.payload.size());
      head = swallowed.size();
      payload.assign(reinterpret_cast<const char*>(swallowed.data()), head);
      payload.resize(frame.payload.size());
      skipped = random() % 4 == 0;
      to_file = !skipped && random() % 2 == 0;
      const auto rest = absl::MakeSpan(reinterpret_cast<std::byte*>(payload.data()) + head,
                                       payload.size() - head);
      if (to_file) {
        reader.ReadPayloadThrough({file.get(), 1234, payload.size(), nullptr}, swallowed, rest);
      } else if (skipped) {
        reader.SkipPayload(payload.size() - head);
      } else {
        reader.ReadPayload(rest);
      }
    }
    writer.join();
    EXPECT_EQ(reader.bytes_read() - reader.unparsed_bytes(), bytes.size());
    held.clear();
  }
  EXPECT_EQ(pool.used_count(), 0u);
  EXPECT_LE(pool.free_count(), StagingPool::kMaxFreeBlocks);
}

// A payload that goes by way of a file, with a message behind it.
class PayloadThroughFileTest : public testing::Test {
 protected:
  static constexpr size_t kBytes = 1 << 20;
  PayloadThroughFileTest() {
    wire::MessageHeader header{};
    header.opcode = 3;
    header.flags = wire::kFlagSource;
    header.remote_size = kBytes;
    std::mt19937 random(1);
    content = RandomBytes(random, kBytes);
    bytes = MessageBytes(header) + content;
    header.flags = 0;
    header.remote_size = 0;
    bytes += MessageBytes(header);
  }

  // Reads all of it, and checks that every byte is in the file, or else in its place in memory; how
  // many are in the file.
  size_t Read() {
    TcpPair pair = MakeTcpPair();
    std::thread writer([&] { SendAll(pair.raw, bytes); });
    SocketStream stream(pair.ours.get());
    FrameReader reader(pool, /*expect_reply=*/false);
    std::string got(kBytes, '\0');
    for (int messages = 0; messages < 2;) {
      const Event event = reader.Next(stream);
      if (event == Event::kDrained) {
        pollfd entry{pair.ours.get(), POLLIN, 0};
        EXPECT_EQ(poll(&entry, 1, 20'000), 1);
        reader.MarkReadable(/*ending=*/false);
      } else if (event == Event::kMessage) {
        ReceivedMessage message = reader.TakeMessage();
        if (++messages != 1) continue;
        const auto head = reader.TakeSwallowed(kBytes);
        std::memcpy(got.data(), head.data(), head.size());
        auto rest = absl::MakeSpan(reinterpret_cast<std::byte*>(got.data()), kBytes);
        reader.ReadPayloadThrough({file.get(), 0, kBytes, nullptr}, head,
                                  rest.subspan(head.size()));
      } else {
        EXPECT_EQ(event, Event::kPayload);
      }
    }
    writer.join();
    const size_t written = reader.written_through();
    EXPECT_TRUE(Content(written) == content.substr(0, written));
    EXPECT_TRUE(got.substr(written) == content.substr(written));
    return written;
  }
  std::string Content(size_t size) {
    std::string got(size, '\0');
    if (size != 0) {
      EXPECT_EQ(pread(file.get(), got.data(), size, 0), static_cast<ssize_t>(size));
    }
    return got;
  }

  StagingPool pool;
  UniqueFd file{memfd_create("frame_reader_test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  std::string content, bytes;
};

TEST_F(PayloadThroughFileTest, AllOfItIsInTheFile) { EXPECT_EQ(Read(), kBytes); }

TEST_F(PayloadThroughFileTest, WhatTheFileDoesNotTakeIsInMemory) {
  constexpr size_t kRoom = 300'000;
  ASSERT_EQ(ftruncate(file.get(), kRoom), 0);
  ASSERT_EQ(fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW), 0);
  const size_t written = Read();
  EXPECT_GT(written, 0u);
  EXPECT_LE(written, kRoom);
}

TEST_F(PayloadThroughFileTest, AFileThatIsNotWritableTakesNothing) {
  file.reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(Read(), 0u);
}

// The pipe is the thread's, so in one that has none yet. (UBSan takes a pipe, too, to look at an
// object's type.)
TEST_F(PayloadThroughFileTest, ItIsInMemoryWhereThereIsNoPipe) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  std::string got(kBytes, '\0');
  size_t written = 1;
  std::thread([&] {
    TcpPair pair = MakeTcpPair();
    SendAll(pair.raw, std::string_view(content).substr(0, 10'000));
    SocketStream stream(pair.ours.get());
    const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool drained = false;
    const ssize_t size = stream.ReadThrough(file.get(), 0, {got.data(), kBytes}, written, drained);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_EQ(size, 10'000);
  }).join();
  EXPECT_EQ(written, 0u);
  EXPECT_TRUE(got.substr(0, 10'000) == content.substr(0, 10'000));
}

INSTANTIATE_TEST_SUITE_P(Seeds, FrameReaderTest, testing::Range(1u, 9u));

TEST(StagingPool, KeepsNoMoreFreeBlocksThanItsLimit) {
  StagingPool pool;
  std::vector<StagingPool::Block> blocks;
  for (size_t i = 0; i < StagingPool::kMaxFreeBlocks + 5; ++i) blocks.push_back(pool.Take());
  EXPECT_EQ(pool.used_count(), StagingPool::kMaxFreeBlocks + 5);
  for (auto& block : blocks) pool.Give(std::move(block));
  EXPECT_EQ(pool.used_count(), 0u);
  EXPECT_EQ(pool.free_count(), StagingPool::kMaxFreeBlocks);
}

}  // namespace
}  // namespace rdmafs
