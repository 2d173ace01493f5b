// Attributes: chmod, chown, truncate, utimens, access, as several users.
#include <sys/statvfs.h>

#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

class StoreAttributes : public StoreTest {};
RDMAFS_IN_ALL_PLACES(StoreAttributes);

wire::SetAttributes Mode(uint32_t mode) { return {.valid = wire::kSetMode, .mode = mode}; }
wire::SetAttributes Size(uint64_t size, uint32_t more = 0) {
  return {.valid = wire::kSetSize | more, .size = size};
}

TEST_P(StoreAttributes, OnlyTheOwnerAndRootChangeTheMode) {
  const StoreEntry file = MakeFile(kAlice, "f");
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, Mode(0777))), EPERM);
  EXPECT_EQ(Change(kAlice, file.handle, Mode(0600)).value().mode, uint32_t{S_IFREG | 0600});
  EXPECT_EQ(Change(kRoot, file.handle, Mode(04755)).value().mode, uint32_t{S_IFREG | 04755});
}

TEST_P(StoreAttributes, SgidIsDroppedByAnOwnerWhoIsNotInTheGroup) {
  const StoreEntry file = MakeFile(kAlice, "f");
  HostChown("f", 1001, 5000);
  EXPECT_EQ(Change(kAlice, file.handle, Mode(02755)).value().mode & 07777, 0755u);
  const uint32_t groups[] = {5000};
  EXPECT_EQ(Change({1001, 1001, 022, groups}, file.handle, Mode(02755)).value().mode & 07777,
            02755u);
}

TEST_P(StoreAttributes, ChownIsForRootAndChangesOfGroupForMembers) {
  const StoreEntry file = MakeFile(kAlice, "f");
  EXPECT_EQ(ErrorOf(Change(kAlice, file.handle, {.valid = wire::kSetUid, .uid = 1002})), EPERM);
  EXPECT_EQ(ErrorOf(Change(kAlice, file.handle, {.valid = wire::kSetGid, .gid = 5000})), EPERM);
  const uint32_t groups[] = {5000};
  auto changed =
      Change({1001, 1001, 022, groups}, file.handle, {.valid = wire::kSetGid, .gid = 5000});
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->gid, 5000u);
  auto given = Change(kRoot, file.handle, {.valid = wire::kSetUid, .uid = 1002});
  ASSERT_TRUE(given.ok());
  EXPECT_EQ(given->uid, 1002u);
  EXPECT_EQ(given->gid, 5000u);
}

TEST_P(StoreAttributes, ChownClearsSuidAndSgidButASymlinkItselfIsChanged) {
  const StoreEntry file = MakeFile(kAlice, "f");
  HostChmod("f", 06755);
  EXPECT_EQ(Change(kRoot, file.handle, {.valid = wire::kSetUid, .uid = 1002}).value().mode & 07777,
            0755u);
  auto link = store_->SymLink(kAlice, root_, "link", "f");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(Change(kRoot, link->handle, {.valid = wire::kSetUid, .uid = 4242}).value().uid, 4242u);
  EXPECT_EQ(HostStat("f").st_uid, 1002u);
}

TEST_P(StoreAttributes, TruncationNeedsWritePermissionUnlessTheFileIsOpenForWriting) {
  const StoreEntry file = MakeFile(kAlice, "f", "0123456789");
  auto opened = store_->Open(kAlice, file.handle, O_WRONLY, false);
  ASSERT_TRUE(opened.ok());
  ASSERT_TRUE(Change(kAlice, file.handle, Mode(0)).ok());
  EXPECT_EQ(ErrorOf(Change(kAlice, file.handle, Size(5))), EACCES);
  EXPECT_EQ(ErrorOf(Change(kAlice, file.handle, Size(5), opened->file.get())), 0);
  EXPECT_EQ(HostStat("f").st_size, 5);
  EXPECT_EQ(ErrorOf(Change(kAlice, MakeDir(kAlice, "d").handle, Size(5))), EISDIR);
  EXPECT_EQ(ErrorOf(Change(kRoot, file.handle, Size(~uint64_t{0}))), EFBIG);
}

TEST_P(StoreAttributes, TruncationClearsSuidForUsersAndForRootWhenAsked) {
  const StoreEntry file = MakeFile(kAlice, "f", "0123456789", 0777);
  const auto set = [&] { HostChmod("f", 06777); };
  set();
  ASSERT_TRUE(Change(kRoot, file.handle, Size(9)).ok());
  EXPECT_EQ(ModeOf(file.handle), 06777u);
  set();
  ASSERT_TRUE(Change(kRoot, file.handle, Size(8, wire::kSetKillSuidGid)).ok());
  EXPECT_EQ(ModeOf(file.handle), 0777u);
  set();
  ASSERT_TRUE(Change(kAlice, file.handle, Size(7, wire::kSetKillSuidGid)).ok());
  EXPECT_EQ(ModeOf(file.handle), 0777u);
}

TEST_P(StoreAttributes, AChangeOfOwnerLeavesRootTheSgidBitThatIsNotForExecution) {
  const StoreEntry file = MakeFile(kAlice, "f");
  const wire::SetAttributes owner{.valid = wire::kSetUid | wire::kSetGid | wire::kSetKillSuidGid,
                                  .uid = kBob.uid,
                                  .gid = kBob.gid};
  HostChmod("f", 06644);
  ASSERT_TRUE(Change(kRoot, file.handle, owner).ok());
  EXPECT_EQ(ModeOf(file.handle), 02644u);
  HostChmod("f", 06755);
  ASSERT_TRUE(Change(kRoot, file.handle, owner).ok());
  EXPECT_EQ(ModeOf(file.handle), 0755u);
}

TEST_P(StoreAttributes, WritersMaySetTimesToNowAndOnlyOwnersToAnythingElse) {
  const StoreEntry file = MakeFile(kAlice, "f", "", 0666);
  const uint32_t both_now =
      wire::kSetAtime | wire::kSetMtime | wire::kSetAtimeNow | wire::kSetMtimeNow;
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, {.valid = both_now})), 0);
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, {.valid = wire::kSetMtime | wire::kSetMtimeNow})),
            EPERM);
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, {.valid = wire::kSetMtime, .mtime_s = 1})), EPERM);
  ASSERT_TRUE(Change(kAlice, file.handle, Mode(0644)).ok());
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, {.valid = both_now})), EACCES);
}

TEST_P(StoreAttributes, OneTimeIsSetAndTheOtherLeft) {
  const StoreEntry file = MakeFile(kAlice, "f");
  ASSERT_TRUE(Change(kAlice, file.handle,
                     {.valid = wire::kSetAtime | wire::kSetMtime,
                      .atime_s = 11,
                      .mtime_s = -22,
                      .atime_ns = 33,
                      .mtime_ns = 44})
                  .ok());
  auto changed = Change(kAlice, file.handle, {.valid = wire::kSetAtime, .atime_s = 55});
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->atime_s, 55);
  EXPECT_EQ(changed->mtime_s, -22);
  EXPECT_EQ(changed->mtime_ns, 44u);
}

// Whatever its mtime is set to.
TEST_P(StoreAttributes, WhatHasJustChangedIsNotSettled) {
  const StoreEntry file = MakeFile(kAlice, "f");
  EXPECT_NE(file.attributes.flags & wire::kUnsettled, 0u);
  const auto changed = Change(kAlice, file.handle, {.valid = wire::kSetMtime, .mtime_s = 1});
  ASSERT_TRUE(changed.ok());
  EXPECT_NE(changed->flags & wire::kUnsettled, 0u);
}

TEST_P(StoreAttributes, SaysWhatHasNoExtendedAttributes) {
  const StoreEntry file = MakeFile(kAlice, "f"), directory = MakeDir(kAlice, "d");
  constexpr uint32_t kBoth = wire::kPlain | wire::kPlainToRoot;
  const auto flags = [&](const Identity& as, std::string_view name) {
    auto found = store_->Lookup(as, root_, name);
    return found.ok() ? found->attributes.flags & kBoth : ~0u;
  };
  EXPECT_EQ(file.attributes.flags & kBoth, uint32_t{wire::kPlain});
  EXPECT_EQ(flags(kAlice, "d"), uint32_t{wire::kPlain}) << "she would not be told of trusted.*";
  EXPECT_EQ(flags(kRoot, "d"), kBoth);
  EXPECT_EQ(flags(kRoot, "f"), kBoth);
  ASSERT_EQ(store_->SetXattr(kRoot, file.handle, "trusted.x", "v", 0, false), kOk);
  EXPECT_EQ(flags(kRoot, "f"), 0u);
  EXPECT_EQ(flags(kAlice, "f"), uint32_t{wire::kPlain});
  ASSERT_EQ(store_->SetXattr(kRoot, file.handle, "security.x", "v", 0, false), kOk);
  EXPECT_EQ(flags(kAlice, "f"), 0u);
}

// They cannot have ACLs: who asks is told EOPNOTSUPP, and not ENODATA.
TEST_P(StoreAttributes, SaysOfNoSymlinkThatItHasNoExtendedAttributes) {
  auto link = store_->SymLink(kAlice, root_, "l", "x");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->attributes.flags & wire::kPlain, 0u);
}

TEST_P(StoreAttributes, NanosecondsThatMeanSomethingElseToTheKernelAreRefused) {
  const StoreEntry file = MakeFile(kAlice, "f");
  for (uint32_t nanoseconds : {uint32_t{UTIME_NOW}, uint32_t{UTIME_OMIT}, 1000000000u}) {
    EXPECT_EQ(
        ErrorOf(Change(kAlice, file.handle, {.valid = wire::kSetMtime, .mtime_ns = nanoseconds})),
        EINVAL);
  }
}

TEST_P(StoreAttributes, WriteBackTimesAreAcceptedFromWhoHasTheFileOpenForWriting) {
  const StoreEntry file = MakeFile(kAlice, "f", "", 0666);
  auto opened = store_->Open(kBob, file.handle, O_WRONLY, false);
  ASSERT_TRUE(opened.ok());
  const wire::SetAttributes times{.valid = wire::kSetMtime | wire::kSetCtime, .mtime_s = 77};
  EXPECT_EQ(ErrorOf(Change(kBob, file.handle, times)), EPERM);
  auto changed = Change(kBob, file.handle, times, opened->file.get());
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->mtime_s, 77);
}

TEST_P(StoreAttributes, TimesOfASymlinkAreItsOwn) {
  MakeFile(kAlice, "f");
  auto link = store_->SymLink(kAlice, root_, "link", "f");
  ASSERT_TRUE(link.ok());
  ASSERT_TRUE(Change(kAlice, link->handle, {.valid = wire::kSetMtime, .mtime_s = 99}).ok());
  EXPECT_EQ(HostStat("link").st_mtime, 99);
  EXPECT_NE(HostStat("f").st_mtime, 99);
}

TEST_P(StoreAttributes, AccessAnswersForTheCaller) {
  const StoreEntry file = MakeFile(kAlice, "f", "", 0640);
  EXPECT_EQ(ErrorOf(store_->Access(kAlice, file.handle, R_OK | W_OK)), 0);
  EXPECT_EQ(ErrorOf(store_->Access(kAlice, file.handle, X_OK)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Access(kBob, file.handle, R_OK)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Access(kRoot, file.handle, R_OK | W_OK)), 0);
  EXPECT_EQ(ErrorOf(store_->Access(kRoot, file.handle, X_OK)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Access(kBob, file.handle, F_OK)), 0);
  EXPECT_EQ(ErrorOf(store_->Access(kBob, file.handle, 8)), EINVAL);
}

TEST_P(StoreAttributes, StatFsIsTheHosts) {
  struct statvfs host;
  ASSERT_EQ(statvfs(path_.c_str(), &host), 0);
  auto status = store_->StatFs(kAlice, root_);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ(status->blocks, host.f_blocks);
  EXPECT_EQ(status->fragment_size, host.f_frsize);
  EXPECT_EQ(status->name_max, 255u);
  EXPECT_EQ(ErrorOf(store_->SyncFs(root_)), 0);
}

TEST_P(StoreAttributes, AnOpenUnlinkedFileStillHasAttributes) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0600, false);
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(Put(*made->file, "abc", 0).ok());
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "f").ok());
  auto by_file = store_->GetAttr(kAlice, made->entry.handle, made->file.get());
  ASSERT_TRUE(by_file.ok());
  EXPECT_EQ(by_file->nlink, 0u);
  EXPECT_EQ(by_file->size, 3u);
  auto by_handle = store_->GetAttr(kAlice, made->entry.handle, nullptr);
  ASSERT_TRUE(by_handle.ok()) << by_handle.error().ToString();
  EXPECT_EQ(by_handle->nlink, 0u);
  EXPECT_EQ(ErrorOf(Change(kAlice, made->entry.handle, Size(1), made->file.get())), 0);
}

}  // namespace
}  // namespace rdmafs
