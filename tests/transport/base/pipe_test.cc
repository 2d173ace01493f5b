// PayloadPipe: what a socket brought goes on whole behind its head, or into memory.
#include "transport/base/pipe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>
#include <utility>

namespace rdmafs {
namespace {

class PayloadPipeTest : public testing::Test {
 protected:
  static constexpr size_t kPages = 600;  // more than any pipe of ours refers to

  PayloadPipeTest() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    ours.reset(ends[0]);
    theirs.reset(ends[1]);
    EXPECT_EQ(ftruncate(pages.get(), kPages * 4096), 0);
  }
  void Send(std::string_view bytes) {
    EXPECT_EQ(send(theirs.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }
  // As many bytes, none of which shares a page with another.
  void SendScattered(size_t count, char fill) {
    for (size_t i = 0; i < count; ++i) {
      off_t at = static_cast<off_t>(i * 4096);
      EXPECT_EQ(pwrite(pages.get(), &fill, 1, at), 1);
      EXPECT_EQ(sendfile(theirs.get(), pages.get(), &at, 1), 1);
    }
  }
  // What MoveTo() brings to a file.
  std::string Moved(const std::string& head) {
    const size_t size = head.size() + pipe.size();
    UniqueFd file(memfd_create("pipe_test", MFD_CLOEXEC));
    EXPECT_EQ(pipe.MoveTo(file.get(), absl::MakeConstSpan(reinterpret_cast<const std::byte*>(
                                                              head.data()),
                                                          head.size())),
              kOk);
    EXPECT_EQ(pipe.size(), 0u);
    std::string got(size, '\0');
    EXPECT_EQ(pread(file.get(), got.data(), size, 0), static_cast<ssize_t>(size));
    return got;
  }
  const std::string kHead = std::string(PayloadPipe::kHeadBytes, 'h');

  UniqueFd ours, theirs;
  UniqueFd pages{memfd_create("pipe_test", MFD_CLOEXEC)};
  PayloadPipe pipe;
};

TEST_F(PayloadPipeTest, APayloadGoesOnBehindItsHead) {
  for (const size_t size : {size_t{1}, size_t{100'000}}) {
    ASSERT_TRUE(pipe.Begin(size));
    Send(std::string(size, 'p') + "next");
    size_t filled = 0;
    while (filled < size) {
      const ssize_t got = pipe.Fill(ours.get(), size - filled);
      ASSERT_GT(got, 0);
      filled += static_cast<size_t>(got);
    }
    EXPECT_EQ(pipe.size(), size);
    EXPECT_EQ(Moved(kHead), kHead + std::string(size, 'p'));
    char next[5] = "";
    EXPECT_EQ(recv(ours.get(), next, 4, 0), 4);
    EXPECT_STREQ(next, "next");
  }
}

TEST_F(PayloadPipeTest, AnEmptySocketIsToldFromAFullPipe) {
  ASSERT_TRUE(pipe.Begin(1000));
  EXPECT_EQ(pipe.Fill(ours.get(), 1000), -1);
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_FALSE(pipe.full());
  theirs.reset();
  EXPECT_EQ(pipe.Fill(ours.get(), 1000), 0);
}

TEST_F(PayloadPipeTest, WhatDoesNotFitIsInMemoryAndNotBegunAgain) {
  ASSERT_TRUE(pipe.Begin(100'000));
  std::string spilled(kPages, '\0');
  for (size_t sent = 0; !pipe.full() && sent < kPages; sent += 100) {
    SendScattered(100, 's');
    while (!pipe.full() && pipe.Fill(ours.get(), kPages) > 0) {
    }
  }
  ASSERT_TRUE(pipe.full());
  EXPECT_EQ(pipe.Fill(ours.get(), 1), -1);
  EXPECT_EQ(errno, EAGAIN);
  const size_t held = pipe.size();
  EXPECT_GT(held, 0u);
  EXPECT_TRUE(pipe.Spill(reinterpret_cast<std::byte*>(spilled.data())));
  EXPECT_EQ(spilled, std::string(held, 's') + std::string(kPages - held, '\0'));
  EXPECT_EQ(pipe.size(), 0u);
  EXPECT_EQ(pipe.RoomFor(100'000), 0u);
  EXPECT_FALSE(pipe.Begin(100'000));
  EXPECT_TRUE(pipe.Begin(99'999));
}

// As a caller that was killed, or whose mount has ended.
TEST_F(PayloadPipeTest, WhatWasRefusedOrClearedDoesNotGoToTheNext) {
  for (const bool cleared : {true, false}) {
    ASSERT_TRUE(pipe.Begin(3));
    Send("old");
    ASSERT_EQ(pipe.Fill(ours.get(), 3), 3);
    if (cleared) {
      pipe.Clear();
    } else {
      EXPECT_EQ(pipe.MoveTo(-1, {reinterpret_cast<const std::byte*>(kHead.data()), kHead.size()}),
                Errno(EBADF));
    }
    EXPECT_EQ(pipe.size(), 0u);
    ASSERT_TRUE(pipe.Begin(3));
    Send("new");
    ASSERT_EQ(pipe.Fill(ours.get(), 3), 3);
    EXPECT_EQ(Moved(kHead), kHead + "new");
  }
}

}  // namespace
}  // namespace rdmafs
