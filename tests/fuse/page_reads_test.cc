// PageReads: reads through the page cache beside writes of the same bytes.
#include "fuse/page_reads.h"

#include <fstream>
#include <optional>

#include "client/layer.h"
#include "tests/fuse/handlers_fixture.h"

namespace rdmafs::fuse {
namespace {

// Reads and writes are held until the test lets them go; then they are done.
class HeldData final : public Layer {
 public:
  using Layer::Layer;
  void Read(ReadRequest request, Reply<Payload> reply) override {
    ++read_count;
    if (fails) {
      read = [kept = std::make_shared<Reply<Payload>>(std::move(reply))] {
        kept->Complete(Errno(EIO));
      };
      return;
    }
    next().Read(
        std::move(request),
        [this, kept = std::make_shared<Reply<Payload>>(std::move(reply))](Result<Payload> result) {
          read = [kept, bytes = std::string(reinterpret_cast<const char*>(result->bytes.data()),
                                            result->bytes.size())] {
            kept->Complete(
                Payload{{reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()}, {}, {}});
          };
        });
  }
  void Write(WriteRequest request, Reply<uint64_t> reply) override {
    write = [this, kept = std::make_shared<WriteRequest>(std::move(request)),
             answer = std::make_shared<Reply<uint64_t>>(std::move(reply))] {
      next().Write(std::move(*kept), std::move(*answer));
    };
  }
  int read_count = 0;
  bool fails = false;
  std::function<void()> read, write;
};

class PageReadsTest : public HandlersOnAFile {
 protected:
  PageReadsTest() {
    HandlersOnAFile::Write("old content", 11);
    ServeFrom(data_);
  }
  uint64_t Read(uint64_t offset = 0, uint32_t size = 100, uint32_t flags = 0) {
    return Send(
        FUSE_READ, node_,
        Bytes(fuse_read_in{.fh = fh_, .offset = offset, .size = size, .read_flags = flags}));
  }
  uint64_t Write(std::string_view data, uint64_t offset = 0, uint32_t flags = 0) {
    return Send(FUSE_WRITE, node_,
                Bytes(fuse_write_in{.fh = fh_,
                                    .offset = offset,
                                    .size = static_cast<uint32_t>(data.size()),
                                    .write_flags = flags},
                      data));
  }
  // What the last read or write was waiting for happens.
  void Let(std::function<void()>& step) {
    std::exchange(step, nullptr)();
    for (int i = 0; i < 3; ++i) loop_.RunOnce(0);
  }
  bool IsAnswered(uint64_t unique) const { return channel_.answers.count(unique) != 0; }
  HeldData data_{*file_system_};
};

TEST_F(PageReadsTest, AReadDuringAWriteOfItsBytesIsAskedForAfterIt) {
  Write("new");
  const uint64_t read = Read();
  EXPECT_EQ(data_.read_count, 0);
  Let(data_.write);
  EXPECT_EQ(data_.read_count, 1);
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "new content");
}

TEST_F(PageReadsTest, AReadThatAWriteOvertakesIsAskedForAgain) {
  const uint64_t read = Read();
  const uint64_t write = Write("new");
  Let(data_.read);  // of before
  EXPECT_FALSE(IsAnswered(read));
  Let(data_.write);
  EXPECT_TRUE(IsAnswered(write));
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "new content");
  EXPECT_EQ(data_.read_count, 2);
}

TEST_F(PageReadsTest, AlsoWhenTheWriteIsDoneBeforeTheAnswerComes) {
  const uint64_t read = Read();
  Write("new");
  Let(data_.write);
  Let(data_.read);
  EXPECT_FALSE(IsAnswered(read));
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "new content");
}

TEST_F(PageReadsTest, OtherBytesAreReadMeanwhile) {
  Write("new");
  const uint64_t read = Read(3, 8);
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, " content");
}

TEST_F(PageReadsTest, AWriteOfOtherBytesOvertakesNothing) {
  const uint64_t read = Read(0, 3);
  Write("C", 4);
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "old");
}

TEST_F(PageReadsTest, AReadWaitsForAllWritesOfItsBytes) {
  Write("n");
  std::function<void()> first = std::move(data_.write);
  Write("e", 1);
  const uint64_t read = Read();
  Let(first);
  EXPECT_EQ(data_.read_count, 0);
  Let(data_.write);
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "ned content");
}

TEST_F(PageReadsTest, WhatGoesPastTheCacheIsNotHeldUp) {
  Write("new");
  Read(0, 100, FUSE_READ_LOCKOWNER);
  EXPECT_EQ(data_.read_count, 1);
}

TEST_F(PageReadsTest, NorByAWriteThatDoes) {
  Write("new", 0, FUSE_WRITE_LOCKOWNER);
  Read();
  EXPECT_EQ(data_.read_count, 1);
}

TEST_F(PageReadsTest, AWriteThatFailsHoldsUpNobodyAnyMore) {
  fh_ =
      As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPEN, node_, Bytes(fuse_open_in{.flags = O_RDONLY}))))
          .fh;
  const uint64_t write = Write("new");
  const uint64_t read = Read();
  Let(data_.write);
  EXPECT_EQ(OnlyAnswer(write).error, Errno(EBADF));
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).bytes, "old content");
}

TEST_F(PageReadsTest, AReadThatFailsIsNotAskedForAgain) {
  data_.fails = true;
  const uint64_t read = Read();
  Write("new");
  Let(data_.read);
  EXPECT_EQ(OnlyAnswer(read).error, Errno(EIO));
}

}  // namespace
}  // namespace rdmafs::fuse
