// A client's replies whose payload comes in a pipe instead of memory, and those that do not.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/transport/tcp/tcp_connection_rig.h"

namespace rdmafs {
namespace {

class PayloadPipeClientTest : public TcpConnectionTest {
 protected:
  void SetUp() override {
    StartClient();
    end.on_message = [this](ContractEnd&, ReceivedMessage reply) {
      by_pipe = reply.payload_pipe() != nullptr;
      got = by_pipe ? TakenFrom(*reply.payload_pipe())
                    : AsText(sink.payload().first(reply.header().remote_size));
    };
  }
  // A call that takes its payload from a pipe, too.
  void Post(size_t size = kSize, bool allowed = true, uint16_t slot = 0) {
    sink = host.Filled(size, 3);
    Outgoing call;
    call.header = Request(slot);
    call.header.flags = wire::kFlagSink;
    call.exposed = sink.payload().first(size);
    call.by_pipe = allowed;
    call.hold = sink;
    ASSERT_EQ(end.Post(std::move(call)), kOk);
  }
  // What was asked of the server.
  wire::MessageHeader Asked() {
    wire::MessageHeader header{};
    Rounds(2);
    EXPECT_EQ(recv(raw.get(), &header, sizeof header, MSG_WAITALL), ssize_t{sizeof header});
    return header;
  }
  static std::string HeaderFor(size_t size, uint16_t slot = 0) {
    wire::MessageHeader reply = ReplyTo(slot);
    reply.remote_size = static_cast<uint32_t>(size);
    return MessageBytes(reply);
  }
  void AnswerWith(const std::string& payload, uint16_t slot = 0) {
    std::thread server([&] { SendAll(raw, HeaderFor(payload.size(), slot) + payload); });
    const size_t before = end.message_count;
    EXPECT_TRUE(Until([&] { return end.message_count == before + 1; }));
    server.join();
  }

  static constexpr size_t kSize = 768 << 10;  // fits into a pipe that anyone may have
  Buffer sink;
  bool by_pipe = false;
  std::string got;
};

TEST_F(PayloadPipeClientTest, ALargePayloadComesByPipeAndItsMemoryIsLeftAlone) {
  for (const size_t size : {size_t{128} << 10, size_t{500'001}, kSize}) {
    SCOPED_TRACE(size);
    Post();
    AnswerWith(Pattern(size, 9));
    EXPECT_TRUE(by_pipe);
    EXPECT_TRUE(got == Pattern(size, 9));
    EXPECT_TRUE(HasPattern(sink.payload().first(kSize), 3));
  }
}

TEST_F(PayloadPipeClientTest, ASmallOneAndOneThatMayNotComeToMemory) {
  Post();
  AnswerWith(Pattern((128 << 10) - 1, 9));
  EXPECT_FALSE(by_pipe);
  EXPECT_TRUE(got == Pattern((128 << 10) - 1, 9));
  Post(kSize, /*allowed=*/false);
  AnswerWith(Pattern(kSize, 9));
  EXPECT_FALSE(by_pipe);
  EXPECT_TRUE(got == Pattern(kSize, 9));
}

TEST_F(PayloadPipeClientTest, OneThatNobodyTookDoesNotComeWithTheNext) {
  const auto take = end.on_message;
  end.on_message = [](ContractEnd&, ReceivedMessage reply) {
    EXPECT_NE(reply.payload_pipe(), nullptr);
  };
  Post();
  AnswerWith(Pattern(kSize, 8));
  end.on_message = take;
  Post();
  AnswerWith(Pattern(kSize, 9));
  EXPECT_TRUE(by_pipe);
  EXPECT_TRUE(got == Pattern(kSize, 9));
}

// As from a server that sends it in many small pieces: more than any pipe refers to.
TEST_F(PayloadPipeClientTest, OneThatDoesNotFitIsInMemoryAsAreThoseOfItsSizeFromThen) {
  constexpr size_t kPieces = 600;
  UniqueFd pages(memfd_create("payload_pipe_test", MFD_CLOEXEC));
  ASSERT_EQ(ftruncate(pages.get(), kPieces * 4096), 0);
  Post();
  std::thread server([&] {
    SendAll(raw, HeaderFor(kSize));
    for (size_t i = 0; i < kPieces; ++i) {
      const auto byte = static_cast<char>(PatternByte(9, i));
      off_t at = static_cast<off_t>(i * 4096);
      EXPECT_EQ(pwrite(pages.get(), &byte, 1, at), 1);
      EXPECT_EQ(sendfile(raw.get(), pages.get(), &at, 1), 1);
    }
    SendAll(raw, Pattern(kSize, 9).substr(kPieces));
  });
  EXPECT_TRUE(Until([&] { return end.message_count == 1; }));
  server.join();
  EXPECT_FALSE(by_pipe);
  EXPECT_TRUE(got == Pattern(kSize, 9));
  Post();
  AnswerWith(Pattern(kSize, 7));
  EXPECT_FALSE(by_pipe);
  EXPECT_TRUE(got == Pattern(kSize, 7));
  Post(kSize - 1);
  AnswerWith(Pattern(kSize - 1, 6));
  EXPECT_TRUE(by_pipe);
  EXPECT_TRUE(got == Pattern(kSize - 1, 6));
}

TEST_F(PayloadPipeClientTest, AnEndInTheMiddleOfOneEndsTheConnection) {
  Post();
  SendAll(raw, HeaderFor(kSize) + Pattern(200'000, 9));
  Rounds(5);
  raw.reset();
  ASSERT_TRUE(Until([&] { return end.closed_count == 1; }));
  EXPECT_TRUE(absl::IsUnavailable(end.reason)) << end.reason;
  EXPECT_EQ(end.message_count, 0u);
  EXPECT_TRUE(HasPattern(sink.payload().first(kSize), 3));
}

// Which a server copies for. Alone, it is sooner in memory.
TEST_F(PayloadPipeClientTest, AMiBIsToComeInFewPiecesWhereThePipeIsNotAmple) {
  constexpr size_t kMost = wire::kMaxPayloadBytes;
  const bool ample = PayloadPipe().RoomFor(kMost) > 300;
  for (const uint16_t slot : {0, 1}) {
    Post(kMost, /*allowed=*/true, slot);
    EXPECT_EQ(Asked().flags, slot == 0 || ample ? wire::kFlagSink
                                                : wire::kFlagSink | wire::kFlagFewPieces);
  }
  AnswerWith(Pattern(kMost, 9), 1);
  EXPECT_TRUE(by_pipe);
  EXPECT_TRUE(got == Pattern(kMost, 9));
  sink = Buffer();
  end.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    EXPECT_EQ(reply.payload_pipe() != nullptr, ample);
  };
  AnswerWith(Pattern(kMost, 8), 0);
}

// One for each page would be too many, with the head before them.
TEST_F(TcpConnectionTest, AMiBFromAFileInFewPiecesFitsIntoAPipeThatAnyoneMayHave) {
  constexpr size_t kSize = 1 << 20;
  StartServer();
  UniqueFd file(memfd_create("payload_pipe_test", MFD_CLOEXEC));
  const std::string payload = Pattern(kSize, 1);
  ASSERT_EQ(write(file.get(), payload.data(), kSize), static_cast<ssize_t>(kSize));
  wire::MessageHeader call = Request(0);
  call.flags = wire::kFlagSink | wire::kFlagFewPieces;
  call.remote_size = kSize;
  SendAll(raw, MessageBytes(call));
  ASSERT_TRUE(Until([&] { return end.held.size() == 1; }));
  end.held.clear();
  Outgoing reply;
  reply.push_file = {file.get(), 0, kSize, nullptr};
  end.Answer(call, std::move(reply));

  Pipe pipe;
  ASSERT_EQ(write(pipe.in(), "h", 1), 1);
  ASSERT_EQ(pipe.capacity_bytes(), Pipe::kUsualBytes);
  std::atomic<bool> read{false};
  size_t filled = 0;
  std::thread reader([&] {
    std::string header(sizeof call, '\0');
    EXPECT_EQ(recv(raw.get(), header.data(), header.size(), MSG_WAITALL),
              static_cast<ssize_t>(header.size()));
    for (ssize_t got = 1; got > 0 && filled < kSize; filled += got > 0 ? size_t(got) : 0)
      got = splice(raw.get(), nullptr, pipe.in(), nullptr, kSize - filled, SPLICE_F_NONBLOCK);
    read = true;
  });
  EXPECT_TRUE(Until([&] { return read.load(); }));
  shutdown(raw.get(), SHUT_RD);  // ends the reader if that was false
  reader.join();
  EXPECT_EQ(filled, kSize);
  std::string got(1 + filled, '\0');
  EXPECT_TRUE(pipe.Empty(reinterpret_cast<std::byte*>(got.data()), got.size()));
  EXPECT_TRUE(got == "h" + payload);
}

}  // namespace
}  // namespace rdmafs
