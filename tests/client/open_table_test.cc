#include "client/open_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace rdmafs {
namespace {

OpenTable::Row RowOf(OpenId id, uint32_t flags = O_RDWR) {
  OpenTable::Row row;
  row.open_id = id;
  row.flags = flags;
  row.handle.size_bytes = 1;
  return row;
}

LockRange Range(uint64_t owner, uint64_t start, uint64_t end, wire::LockType type) {
  return {owner, start, end, type, 1};
}

TEST(OpenTable, IdsAreNeverZeroAndNeverTheSame) {
  OpenTable table;
  const OpenId first = table.NewId();
  EXPECT_NE(first, 0u);
  EXPECT_NE(table.NewId(), first);
}

TEST(OpenTable, AFileIsReopenedWithoutCreatingOrTruncatingIt) {
  OpenTable table;
  table.Add(RowOf(1, O_RDWR | O_CREAT | O_EXCL | O_TRUNC | O_APPEND));
  ASSERT_EQ(table.Rows().size(), 1u);
  EXPECT_EQ(table.Rows()[0].flags, static_cast<uint32_t>(O_RDWR | O_APPEND));
}

TEST(OpenTable, ARemovedFileIsNotReopened) {
  OpenTable table;
  table.Add(RowOf(1));
  table.Remove(1);
  EXPECT_TRUE(table.Rows().empty());
}

TEST(OpenTable, OnlyFilesOpenedForAppendAreAppendFiles) {
  OpenTable table;
  table.Add(RowOf(1, O_WRONLY | O_APPEND));
  table.Add(RowOf(2, O_WRONLY));
  EXPECT_TRUE(table.IsAppend(1));
  EXPECT_FALSE(table.IsAppend(2));
  table.Remove(1);
  EXPECT_FALSE(table.IsAppend(1));
}

TEST(OpenTable, AStaleFileIsForgottenWithItsRelease) {
  OpenTable table;
  table.Add(RowOf(1));
  table.MarkStale(1);
  EXPECT_TRUE(table.IsStale(1));
  table.Remove(1);
  EXPECT_FALSE(table.IsStale(1));
}

TEST(OpenTable, AnUnlockInTheMiddleLeavesBothEnds) {
  OpenTable table;
  table.Add(RowOf(1));
  table.RecordLock(1, Range(7, 0, 99, wire::LockType::kWrite), 0);
  table.RecordLock(1, Range(7, 40, 59, wire::LockType::kUnlock), 0);
  const auto locks = table.Rows()[0].locks;
  ASSERT_EQ(locks.size(), 2u);
  EXPECT_EQ(locks[0].range.start, 0u);
  EXPECT_EQ(locks[0].range.end, 39u);
  EXPECT_EQ(locks[1].range.start, 60u);
  EXPECT_EQ(locks[1].range.end, 99u);
}

TEST(OpenTable, AnUnlockOfOneOwnerLeavesTheOthers) {
  OpenTable table;
  table.Add(RowOf(1));
  table.RecordLock(1, Range(7, 0, 9, wire::LockType::kRead), 0);
  table.RecordLock(1, Range(8, 0, 9, wire::LockType::kRead), 0);
  table.RecordLock(1, Range(7, 0, 9, wire::LockType::kUnlock), 0);
  ASSERT_EQ(table.Rows()[0].locks.size(), 1u);
  EXPECT_EQ(table.Rows()[0].locks[0].range.owner, 8u);
}

TEST(OpenTable, ClosingOneDescriptorDropsTheProcessLocksOfTheWholeFile) {
  OpenTable table;
  table.Add(RowOf(1));
  table.Add(RowOf(2));
  table.RecordLock(1, Range(7, 0, 9, wire::LockType::kWrite), 0);
  table.RecordLock(1, Range(7, 0, 9, wire::LockType::kWrite), wire::kLockFlock);
  table.ForgetOwner(2, 7);
  for (const auto& row : table.Rows()) {
    for (const auto& lock : row.locks) EXPECT_EQ(lock.flags, wire::kLockFlock);
  }
}

// What a file open for writing as `id` is to the table.
OpenTable::Row Writable(OpenId id, uint8_t object, uint32_t flags = O_RDWR) {
  OpenTable::Row row{id, {}, flags, 0, 0, {}};
  row.handle.size_bytes = 1;
  row.handle.bytes[0] = object;
  return row;
}

TEST(OpenTable, WritesThatWereNotSyncedBeforeTheHostRestartedAreToldOnceToEachWhoHadTheFileOpen) {
  OpenTable table;
  table.Add(Writable(1, 7));
  table.Add(Writable(2, 7));
  table.StateOf(1)->written.fetch_add(1);
  EXPECT_FALSE(table.HasLoss(1));
  EXPECT_EQ(table.MarkLosses(), 1u);
  table.Add(Writable(3, 7));  // opened after it
  EXPECT_TRUE(table.HasLoss(2));
  EXPECT_TRUE(table.TakeLoss(1));
  EXPECT_FALSE(table.TakeLoss(1));
  EXPECT_TRUE(table.TakeLoss(2));
  EXPECT_FALSE(table.TakeLoss(3));
}

TEST(OpenTable, WhatWasSyncedIsNotLost) {
  OpenTable table;
  table.Add(Writable(1, 7));
  table.StateOf(1)->written.fetch_add(2);
  table.StateOf(1)->NoteSynced(2);
  EXPECT_EQ(table.MarkLosses(), 0u);
  EXPECT_FALSE(table.TakeLoss(1));
  table.StateOf(1)->written.fetch_add(1);
  table.StateOf(1)->NoteSynced(1);  // a late answer to an earlier fsync
  EXPECT_EQ(table.MarkLosses(), 1u);
}

TEST(OpenTable, FilesThatAreWrittenThroughAndThoseThatAreOnlyReadHaveNothingToLose) {
  OpenTable table;
  table.Add(Writable(1, 7, O_RDWR | O_SYNC));
  table.Add(Writable(2, 8, O_RDONLY));
  EXPECT_EQ(table.StateOf(1), nullptr);
  EXPECT_EQ(table.StateOf(2), nullptr);
  EXPECT_EQ(table.MarkLosses(), 0u);
}

}  // namespace
}  // namespace rdmafs
