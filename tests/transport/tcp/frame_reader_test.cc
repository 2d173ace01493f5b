// FrameReader: any stream of frames, cut anywhere and read in any mode, comes out as it went in.
#include "transport/tcp/frame_reader.h"

#include <poll.h>

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
    bool skipped = false;
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
      if (skipped) {
        reader.SkipPayload(payload.size() - head);
      } else {
        reader.ReadPayload(absl::MakeSpan(reinterpret_cast<std::byte*>(payload.data()) + head,
                                          payload.size() - head));
      }
    }
    writer.join();
    EXPECT_EQ(reader.bytes_read() - reader.unparsed_bytes(), bytes.size());
    held.clear();
  }
  EXPECT_EQ(pool.used_count(), 0u);
  EXPECT_LE(pool.free_count(), StagingPool::kMaxFreeBlocks);
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
