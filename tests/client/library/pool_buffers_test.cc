#include "client/library/pool_buffers.h"

#include <gtest/gtest.h>

#include <cstring>

namespace rdmafs::library {
namespace {

class PoolBuffersTest : public testing::Test {
 protected:
  PoolBuffers::Id Delivered(size_t size = 100) {
    const PoolBuffers::Id id = buffers.Begin();
    Buffer block = pool.Take();
    buffers.Deliver(id, block.payload().first(size), block);
    return id;
  }
  void ExpectStates(uint64_t in_transmission, uint64_t being_consumed, uint64_t being_returned) {
    const PoolBuffers::Statistics statistics = buffers.statistics();
    EXPECT_EQ(statistics.in_transmission, in_transmission);
    EXPECT_EQ(statistics.being_consumed, being_consumed);
    EXPECT_EQ(statistics.being_returned, being_returned);
    EXPECT_EQ(pool.statistics().used_count, being_consumed + being_returned);
  }

  Arena arena;
  BufferPool pool{arena, {.payload_bytes = 4096, .cap_bytes = size_t{4} << 20}};
  PoolBuffers buffers;
};

TEST_F(PoolBuffersTest, ABufferGoesThroughTheFourStates) {
  ExpectStates(0, 0, 0);
  const PoolBuffers::Id id = buffers.Begin();
  ExpectStates(1, 0, 0);
  Buffer block = pool.Take();
  buffers.Deliver(id, block.payload(), block);
  block = {};
  ExpectStates(0, 1, 0);
  ASSERT_TRUE(buffers.Use(id, 0, 10).ok());
  EXPECT_EQ(buffers.Consume(id), kOk);
  ExpectStates(0, 0, 1);
  buffers.Unuse(id);
  ExpectStates(0, 0, 0);
}

TEST_F(PoolBuffersTest, AFailedReadLeavesItAvailable) {
  buffers.Fail(buffers.Begin());
  ExpectStates(0, 0, 0);
}

TEST_F(PoolBuffersTest, ASecondReturnIsRefusedAndCounted) {
  const PoolBuffers::Id id = Delivered();
  EXPECT_EQ(buffers.Consume(id), kOk);
  EXPECT_EQ(buffers.Consume(id), Errno(EINVAL));
  EXPECT_EQ(buffers.statistics().misused, 1u);
}

TEST_F(PoolBuffersTest, ASecondReturnDoesNotTakeTheBufferFromItsNextUser) {
  const PoolBuffers::Id first = Delivered();
  EXPECT_EQ(buffers.Consume(first), kOk);
  const PoolBuffers::Id second = Delivered();
  EXPECT_NE(first, second);
  EXPECT_EQ(buffers.Consume(first), Errno(EINVAL));
  ExpectStates(0, 1, 0);
  EXPECT_EQ(buffers.Consume(second), kOk);
}

TEST_F(PoolBuffersTest, WhatIsNoBufferAndWhatIsInTransmissionCannotBeReturned) {
  EXPECT_EQ(buffers.Consume(0), Errno(EINVAL));
  EXPECT_EQ(buffers.Consume(UINT64_MAX), Errno(EINVAL));
  const PoolBuffers::Id id = buffers.Begin();
  EXPECT_EQ(buffers.Consume(id), Errno(EINVAL));
  ExpectStates(1, 0, 0);
  buffers.Fail(id);
}

TEST_F(PoolBuffersTest, AWriteUsesOnlyWhatIsInsideABufferThatIsBeingConsumed) {
  const PoolBuffers::Id id = Delivered(100);
  EXPECT_TRUE(buffers.Use(id, 90, 10).ok());
  EXPECT_EQ(buffers.Use(id, 90, 11).error(), Errno(EINVAL));
  EXPECT_EQ(buffers.Use(id, 101, 0).error(), Errno(EINVAL));
  EXPECT_EQ(buffers.Use(id, 1, SIZE_MAX).error(), Errno(EINVAL));
  EXPECT_EQ(buffers.Consume(id), kOk);
  EXPECT_EQ(buffers.Use(id, 0, 1).error(), Errno(EINVAL)) << "it was given back";
  EXPECT_EQ(buffers.Consume(id), Errno(EINVAL));
  buffers.Unuse(id);
  ExpectStates(0, 0, 0);
}

TEST_F(PoolBuffersTest, SeveralWritesKeepAReturnedBufferUntilTheLastOneIsDone) {
  const PoolBuffers::Id id = Delivered();
  ASSERT_TRUE(buffers.Use(id, 0, 1).ok() && buffers.Use(id, 1, 1).ok());
  EXPECT_EQ(buffers.Consume(id), kOk);
  buffers.Unuse(id);
  ExpectStates(0, 0, 1);
  buffers.Unuse(id);
  ExpectStates(0, 0, 0);
}

TEST_F(PoolBuffersTest, NamesAreNotUsedTwice) {
  std::vector<PoolBuffers::Id> names;
  for (int i = 0; i < 1000; ++i) {
    names.push_back(Delivered());
    EXPECT_EQ(buffers.Consume(names.back()), kOk);
  }
  for (PoolBuffers::Id name : names) EXPECT_EQ(buffers.Consume(name), Errno(EINVAL));
  EXPECT_EQ(buffers.statistics().misused, 1000u);
}

}  // namespace
}  // namespace rdmafs::library
