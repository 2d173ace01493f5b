// SendQueue: everything arrives in order through a socket that takes little, and holds go when
// sent.
#include "transport/tcp/send_queue.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/transport/tcp/tcp_pair.h"

namespace rdmafs {
namespace {

using Progress = SendQueue::Progress;

std::string ReadExactly(const UniqueFd& fd, size_t size) {
  std::string bytes(size, '\0');
  EXPECT_EQ(recv(fd.get(), bytes.data(), size, MSG_WAITALL), static_cast<ssize_t>(size));
  return bytes;
}

absl::Span<const std::byte> Bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

std::string Head(const wire::MessageHeader& header, std::string_view body) {
  return std::string(reinterpret_cast<const char*>(&header), sizeof header).append(body);
}

class SendQueueTest : public testing::Test {
 protected:
  SendQueueTest() : pool(arena, {}) {}

  // Sends all of it, waiting for the socket.
  void FlushAll() {
    while (queue.Flush(stream, [this](int slot) { sent.push_back(slot); }) ==
           Progress::kBlocked) {
      ++blocked;
      pollfd entry{pair.ours.get(), POLLOUT, 0};
      ASSERT_EQ(poll(&entry, 1, 20'000), 1);
    }
    EXPECT_EQ(queue.size_bytes(), 0u) << Errno(queue.error()).ToString();
  }
  // In the middle of what was pushed.
  void ExpectErrorWhenThePeerResets() {
    EXPECT_EQ(queue.Flush(stream, [](int) {}), Progress::kBlocked);
    Reset(pair.raw);
    Progress progress = Progress::kBlocked;
    for (int i = 0; i < 100 && progress == Progress::kBlocked; ++i)
      progress = queue.Flush(stream, [](int) {});
    EXPECT_EQ(progress, Progress::kError);
  }

  TcpPair pair = MakeTcpPair(16 << 10);
  SocketStream stream{pair.ours.get()};
  Arena arena;
  BufferPool pool;
  SendQueue queue;
  std::vector<int> sent;
  int blocked = 0;
};

TEST_F(SendQueueTest, MessagesOfAllKindsArriveInOrder) {
  std::mt19937 random(1);
  const std::string material = [&] {
    std::string bytes(1 << 20, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    return bytes;
  }();
  std::string expected, received;
  std::vector<int> slots;
  for (int i = 0; i < 1000; ++i) {
    wire::MessageHeader header{};
    header.sequence = static_cast<uint32_t>(i);
    const std::string_view all = material;
    const std::string_view body =
        all.substr(random() % 1000, random() % 3 == 0 ? random() % 2048 : 0);
    const std::string_view inline_payload =
        all.substr(random() % 1000, random() % 3 == 0 ? random() % 4096 : 0);
    const std::string_view payload =
        all.substr(random() % 1000, random() % 20 == 0 ? random() % 200'000 : 0);
    expected += Head(header, body);
    expected += inline_payload;
    expected += payload;
    queue.Push({header, Bytes(body), Bytes(inline_payload), Bytes(payload), Buffer(), i % 256});
    slots.push_back(i % 256);
  }
  EXPECT_EQ(queue.message_count(), 1000u);
  EXPECT_EQ(queue.size_bytes(), expected.size());
  std::thread reader([&] { received = ReadExactly(pair.raw, expected.size()); });
  FlushAll();
  reader.join();
  EXPECT_EQ(received, expected);
  EXPECT_EQ(sent, slots);
  EXPECT_GT(blocked, 0);
  EXPECT_EQ(queue.message_count(), 0u);
  EXPECT_EQ(queue.size_bytes(), 0u);
  EXPECT_EQ(queue.bytes_sent(), expected.size());
}

TEST_F(SendQueueTest, AHoldIsDroppedWhenTheKernelHasTakenItsLastByte) {
  Buffer block = pool.Take();
  const absl::Span<std::byte> payload = block.payload();
  wire::MessageHeader header{};
  queue.Push({header, {}, {}, payload, std::move(block)});
  auto nothing = [](int) {};
  EXPECT_EQ(queue.Flush(stream, nothing), Progress::kBlocked);
  EXPECT_EQ(pool.statistics().used_count, 1u);
  std::thread reader([&] { ReadExactly(pair.raw, sizeof header + payload.size()); });
  FlushAll();
  reader.join();
  EXPECT_EQ(pool.statistics().used_count, 0u);
}

class SendQueueLentTest : public SendQueueTest {
 protected:
  SendQueueLentTest() { signal(SIGPIPE, SIG_IGN); }

  Buffer Block(char fill) {
    Buffer block = pool.Take();
    std::memset(block.data(), fill, block.size());
    return block;
  }
  void PushLent(const Buffer& block, size_t size) {
    queue.Push({.header = header,
                .payload = block.payload().first(size),
                .hold = block,
                .lent_bytes = size / 4096 * 4096});
  }

  wire::MessageHeader header{};
};

TEST_F(SendQueueLentTest, PagesArriveInOrderWithEverythingElse) {
  std::string expected, received;
  for (uint32_t i = 0; i < 40; ++i) {
    header.sequence = i;
    const char fill = static_cast<char>('a' + i % 26);
    const size_t size = (i + 1) * 26'000;
    PushLent(Block(fill), size);
    expected += Head(header, "") + std::string(size, fill);
    queue.Push({header, Bytes("body"), Bytes("inline"), Bytes("payload"), Buffer()});
    expected += Head(header, "body") + "inlinepayload";
  }
  EXPECT_EQ(queue.size_bytes(), expected.size());
  std::thread reader([&] { received = ReadExactly(pair.raw, expected.size()); });
  FlushAll();
  reader.join();
  EXPECT_TRUE(received == expected);
  EXPECT_GT(blocked, 0);
  EXPECT_EQ(queue.bytes_sent(), expected.size());
  EXPECT_EQ(pool.statistics().used_count, 0u);
}

// Large buffers, so that the socket takes all at once; what was copied does not change any more.
TEST_F(SendQueueLentTest, OnlyLargePayloadIsReferredTo) {
  pair = MakeTcpPair(4 << 20);
  SocketStream wide(pair.ours.get());
  for (const size_t size : {SendQueue::kMinLentBytes, SendQueue::kMinLentBytes - 4096}) {
    Buffer block = Block('a');
    PushLent(block, size);
    ASSERT_EQ(queue.Flush(wide, [](int) {}), Progress::kEmpty);
    std::memset(block.data(), 'b', block.size());
    const std::string received = ReadExactly(pair.raw, sizeof header + size).substr(sizeof header);
    EXPECT_EQ(received.find_first_not_of(size == SendQueue::kMinLentBytes ? 'b' : 'a'),
              std::string::npos);
  }
}

TEST_F(SendQueueLentTest, WhatOneSocketDoesNotTakeDoesNotGoToTheNext) {
  PushLent(Block('a'), 1 << 20);
  EXPECT_EQ(queue.Flush(stream, [](int) {}), Progress::kBlocked);
  TcpPair next_pair = MakeTcpPair();
  SocketStream next_stream(next_pair.ours.get());
  SendQueue next;
  next.Push({.header = header,
             .payload = Block('b').payload().first(SendQueue::kMinLentBytes),
             .lent_bytes = SendQueue::kMinLentBytes});
  std::string received;
  std::thread reader(
      [&] { received = ReadExactly(next_pair.raw, sizeof header + SendQueue::kMinLentBytes); });
  while (next.Flush(next_stream, [](int) {}) == Progress::kBlocked) std::this_thread::yield();
  reader.join();
  EXPECT_TRUE(received == Head(header, "") + std::string(SendQueue::kMinLentBytes, 'b'));
  std::string rest;
  std::thread rest_reader([&] { rest = ReadExactly(pair.raw, sizeof header + (1 << 20)); });
  FlushAll();
  rest_reader.join();
  EXPECT_TRUE(rest == Head(header, "") + std::string(1 << 20, 'a'));
}

TEST_F(SendQueueLentTest, ABrokenSocketIsAnErrorInTheMiddleOfPages) {
  PushLent(Block('a'), 1 << 20);
  ExpectErrorWhenThePeerResets();
}

class SendQueueFileTest : public SendQueueTest {
 protected:
  SendQueueFileTest() {
    signal(SIGPIPE, SIG_IGN);
    for (char& byte : content) byte = static_cast<char>(random());
    EXPECT_EQ(write(file.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
  }
  void PushRange(uint64_t offset, size_t size) {
    queue.Push(
        {.header = header, .file = {file.get(), offset, size, std::shared_ptr<const void>(owner)}});
    expected += Head(header, "") + content.substr(offset, size);
  }
  std::string FlushAndReceive() {
    std::string received;
    std::thread reader([&] { received = ReadExactly(pair.raw, expected.size()); });
    FlushAll();
    reader.join();
    return received;
  }

  std::mt19937 random{1};
  std::string content = std::string(2 << 20, '\0');
  UniqueFd file{memfd_create("send_queue_test", MFD_CLOEXEC)};
  std::shared_ptr<int> owner = std::make_shared<int>();
  wire::MessageHeader header{};
  std::string expected;
};

TEST_F(SendQueueFileTest, RangesOfAFileArriveInOrderWithEverythingElse) {
  for (uint32_t i = 0; i < 40; ++i) {
    header.sequence = i;
    PushRange(random() % (1 << 20), random() % (1 << 20));
    queue.Push({header, Bytes("body"), Bytes("inline"), Bytes("payload"), Buffer()});
    expected += Head(header, "body") + "inlinepayload";
  }
  EXPECT_EQ(queue.size_bytes(), expected.size());
  EXPECT_TRUE(FlushAndReceive() == expected);
  EXPECT_GT(blocked, 0);
  EXPECT_EQ(queue.bytes_sent(), expected.size());
}

// Large buffers, so that the socket takes all at once; what was copied does not change any more.
TEST_F(SendQueueFileTest, TheEndOfARangeMayBeCopied) {
  pair = MakeTcpPair(4 << 20);
  SocketStream wide(pair.ours.get());
  constexpr size_t kSize = 200'000, kCopied = 70'000;
  queue.Push({.header = header,
              .file = {file.get(), 0, kSize, nullptr},
              .copied_bytes = kCopied});
  ASSERT_EQ(queue.Flush(wide, [](int) {}), Progress::kEmpty);
  const std::string later(kSize, 'x');
  ASSERT_EQ(pwrite(file.get(), later.data(), kSize, 0), static_cast<ssize_t>(kSize));
  EXPECT_TRUE(ReadExactly(pair.raw, sizeof header + kSize) ==
              Head(header, "") + later.substr(kCopied) +
                  content.substr(kSize - kCopied, kCopied));
}

TEST_F(SendQueueFileTest, TheFileIsLetGoWhenItsBytesWereTakenOrDropped) {
  PushRange(0, 1 << 20);
  EXPECT_EQ(queue.Flush(stream, [](int) {}), Progress::kBlocked);
  EXPECT_EQ(owner.use_count(), 2);
  EXPECT_TRUE(FlushAndReceive() == expected);
  EXPECT_EQ(owner.use_count(), 1);
  PushRange(0, 1 << 20);
  queue.Clear();
  EXPECT_EQ(owner.use_count(), 1);
}

TEST_F(SendQueueFileTest, WhatTheFileHasLostIsSentAsZeros) {
  PushRange(0, 1 << 20);
  PushRange(1 << 20, 300'000);
  constexpr size_t kLeft = 700'000;
  ASSERT_EQ(ftruncate(file.get(), kLeft), 0);
  std::fill(expected.begin() + sizeof header + kLeft, expected.begin() + sizeof header + (1 << 20),
            '\0');
  std::fill(expected.end() - 300'000, expected.end(), '\0');
  EXPECT_TRUE(FlushAndReceive() == expected);
}

// /proc/self/mem is one. sendfile(2) takes offsets below 2 GiB of files in /proc.
TEST_F(SendQueueFileTest, AFileThatSendfileCannotReadIsCopied) {
  constexpr uintptr_t kLow = 1 << 28;
  void* const low = mmap(reinterpret_cast<void*>(kLow), content.size(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_NE(low, MAP_FAILED);
  std::copy(content.begin(), content.end(), static_cast<char*>(low));
  file.reset(open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  off_t offset = kLow;
  ASSERT_EQ(sendfile(pair.ours.get(), file.get(), &offset, 1), -1);
  ASSERT_EQ(errno, EINVAL);
  queue.Push({.header = header, .file = {file.get(), kLow, content.size(), nullptr}});
  expected = Head(header, "") + content;
  EXPECT_TRUE(FlushAndReceive() == expected);
  munmap(low, content.size());
}

TEST_F(SendQueueFileTest, AFileThatCannotBeReadIsAnError) {
  file.reset(open("/", O_RDONLY | O_CLOEXEC));
  PushRange(0, 100);
  EXPECT_EQ(queue.Flush(stream, [](int) {}), Progress::kError);
  EXPECT_EQ(queue.error(), EISDIR);
}

TEST_F(SendQueueFileTest, ABrokenSocketIsAnErrorInTheMiddleOfAFile) {
  PushRange(0, 1 << 20);
  ExpectErrorWhenThePeerResets();
}

TEST_F(SendQueueTest, ClearDropsWhatIsNotSent) {
  Buffer block = pool.Take();
  const absl::Span<std::byte> payload = block.payload();
  wire::MessageHeader header{};
  queue.Push({header, {}, {}, payload, std::move(block), 7});
  queue.Clear();
  EXPECT_EQ(pool.statistics().used_count, 0u);
  EXPECT_EQ(queue.size_bytes(), 0u);
  FlushAll();
  EXPECT_TRUE(sent.empty());
}

TEST_F(SendQueueTest, ABrokenSocketIsAnError) {
  wire::MessageHeader header{};
  Reset(pair.raw);
  queue.Push({header, {}, {}, {}, Buffer()});
  EXPECT_EQ(queue.Flush(stream, [](int) {}), Progress::kError);
  EXPECT_EQ(queue.error(), ECONNRESET);
}

}  // namespace
}  // namespace rdmafs
