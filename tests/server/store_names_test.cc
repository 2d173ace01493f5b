// Names: lookup, making, removing, renaming and linking objects, as several users.
#include <linux/fs.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

class StoreNames : public StoreTest {};
RDMAFS_IN_ALL_PLACES(StoreNames);

TEST_P(StoreNames, LookupFindsWhatTheHostHas) {
  ASSERT_EQ(mkdir(Host("there").c_str(), 0750), 0);
  auto entry = store_->Lookup(kRoot, root_, "there");
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->attributes.ino, HostStat("there").st_ino);
  EXPECT_EQ(entry->attributes.mode, uint32_t{S_IFDIR | 0750});
  EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, root_, "absent")), ENOENT);
}

TEST_P(StoreNames, TheSameObjectAlwaysHasTheSameHandle) {
  const StoreEntry made = MakeFile(kAlice, "file");
  auto found = store_->Lookup(kBob, root_, "file");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->handle, made.handle);
  auto opened = store_->Open(kAlice, made.handle, O_RDONLY, false);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->file->handle(), made.handle);
  EXPECT_EQ(opened->entry.handle, made.handle);
}

TEST_P(StoreNames, LookupDoesNotFollowSymlinks) {
  ASSERT_EQ(symlink("/etc/passwd", Host("link").c_str()), 0);
  auto link = store_->Lookup(kRoot, root_, "link");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->attributes.mode & S_IFMT, uint32_t{S_IFLNK});
  EXPECT_EQ(ErrorOf(store_->Open(kRoot, link->handle, O_RDONLY, false)), ELOOP);
  EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, link->handle, "x")), ENOTDIR);
}

TEST_P(StoreNames, NamesThatLeadElsewhereAreRefused) {
  for (std::string_view name : {"", ".", "..", "a/b", "/etc"}) {
    EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, root_, name)), EINVAL) << name;
    EXPECT_EQ(ErrorOf(store_->MkDir(kRoot, root_, name, 0777)), EINVAL) << name;
    EXPECT_EQ(ErrorOf(store_->Unlink(kRoot, root_, name)), EINVAL) << name;
  }
  EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, root_, std::string_view("a\0b", 3))), EINVAL);
  EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, root_, std::string(256, 'n'))), ENAMETOOLONG);
}

TEST_P(StoreNames, NamesOf255BytesAndBytesThatAreNoTextWork) {
  const std::string longest(255, '\xff');
  MakeFile(kAlice, longest, "x");
  auto found = store_->Lookup(kBob, root_, longest);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->attributes.size, 1u);
  EXPECT_TRUE(store_->Unlink(kAlice, root_, longest).ok());
}

TEST_P(StoreNames, SearchPermissionCountsAsForALocalProcess) {
  const StoreEntry directory = MakeDir(kAlice, "private", 0700);
  ASSERT_TRUE(store_->MkDir(kAlice, directory.handle, "inner", 0755).ok());
  EXPECT_EQ(ErrorOf(store_->Lookup(kBob, directory.handle, "inner")), EACCES);
  EXPECT_TRUE(store_->Lookup(kAlice, directory.handle, "inner").ok());
  EXPECT_TRUE(store_->Lookup(kRoot, directory.handle, "inner").ok());
}

TEST_P(StoreNames, SupplementaryGroupsCount) {
  const StoreEntry directory = MakeDir(kRoot, "team", 0770);
  HostChown("team", 0, 5000);
  const uint32_t groups[] = {4000, 5000};
  const Identity member{1001, 1001, 022, groups};
  EXPECT_EQ(ErrorOf(store_->MkDir(kAlice, directory.handle, "a", 0755)), EACCES);
  EXPECT_EQ(ErrorOf(store_->MkDir(member, directory.handle, "a", 0755)), 0);
  EXPECT_EQ(ErrorOf(store_->MkDir(kAlice, directory.handle, "b", 0755)), EACCES);
}

TEST_P(StoreNames, NewObjectsBelongToTheCallerAndObeyItsUmask) {
  const Identity strict{1001, 1002, 0077, {}}, open{1001, 1002, 0, {}};
  auto directory = store_->MkDir(strict, root_, "d", 0777);
  auto file = store_->Create(open, root_, "f", O_RDWR, 0666, false);
  ASSERT_TRUE(directory.ok() && file.ok());
  EXPECT_EQ(directory->attributes.mode, uint32_t{S_IFDIR | 0700});
  EXPECT_EQ(file->entry.attributes.mode, uint32_t{S_IFREG | 0666});
  EXPECT_EQ(file->entry.attributes.uid, 1001u);
  EXPECT_EQ(file->entry.attributes.gid, 1002u);
}

TEST_P(StoreNames, ASgidDirectoryHandsItsGroupDown) {
  const StoreEntry directory = MakeDir(kRoot, "team", 0777);
  HostChown("team", 0, 5000);
  HostChmod("team", 02777);
  auto inner = store_->MkDir(kAlice, directory.handle, "inner", 0755);
  auto file = store_->Create(kAlice, directory.handle, "file", O_RDWR, 0644, false);
  auto pipe = store_->MkNod(kAlice, directory.handle, "pipe", S_IFIFO | 0644, 0, 0);
  auto link = store_->SymLink(kAlice, directory.handle, "link", "x");
  ASSERT_TRUE(inner.ok() && file.ok() && pipe.ok() && link.ok());
  for (const auto& made : {*inner, file->entry, *pipe, *link})
    EXPECT_EQ(made.attributes.gid, 5000u);
  EXPECT_EQ(inner->attributes.mode, uint32_t{S_IFDIR | S_ISGID | 0755});
}

TEST_P(StoreNames, MkNodMakesPipesAndSocketsForAllAndDevicesForRootOnly) {
  EXPECT_TRUE(store_->MkNod(kAlice, root_, "pipe", S_IFIFO | 0600, 0, 0).ok());
  EXPECT_TRUE(store_->MkNod(kAlice, root_, "socket", S_IFSOCK | 0600, 0, 0).ok());
  EXPECT_TRUE(store_->MkNod(kAlice, root_, "plain", S_IFREG | 0600, 0, 0).ok());
  EXPECT_EQ(ErrorOf(store_->MkNod(kAlice, root_, "null", S_IFCHR | 0666, 1, 3)), EPERM);
  auto null = store_->MkNod(kRoot, root_, "null", S_IFCHR | 0644, 1, 3);
  ASSERT_TRUE(null.ok());
  EXPECT_EQ(null->attributes.rdev_major, 1u);
  EXPECT_EQ(null->attributes.rdev_minor, 3u);
  EXPECT_EQ(ErrorOf(store_->MkNod(kAlice, root_, "pipe", S_IFIFO | 0600, 0, 0)), EEXIST);
}

TEST_P(StoreNames, SymLinksKeepTheirTarget) {
  const std::string target(4095, 't');
  const std::string short_target = "../../etc/passwd";
  auto link = store_->SymLink(kAlice, root_, "link", short_target);
  ASSERT_TRUE(link.ok());
  auto read = store_->ReadLink(kBob, link->handle);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(*read, short_target);
  EXPECT_EQ(ErrorOf(store_->ReadLink(kBob, root_)), EINVAL);
  EXPECT_EQ(ErrorOf(store_->SymLink(kAlice, root_, "empty", "")), ENOENT);
  auto longest = store_->SymLink(kAlice, root_, "longest", target);
  ASSERT_TRUE(longest.ok());
  EXPECT_EQ(store_->ReadLink(kBob, longest->handle).value(), target);
}

TEST_P(StoreNames, UnlinkAndRmDirGiveTheHostsErrors) {
  const StoreEntry directory = MakeDir(kAlice, "d");
  MakeFile(kAlice, "f");
  ASSERT_TRUE(store_->MkDir(kAlice, directory.handle, "inner", 0755).ok());
  EXPECT_EQ(ErrorOf(store_->Unlink(kAlice, root_, "d")), EISDIR);
  EXPECT_EQ(ErrorOf(store_->RmDir(kAlice, root_, "f")), ENOTDIR);
  EXPECT_EQ(ErrorOf(store_->RmDir(kAlice, root_, "d")), ENOTEMPTY);
  EXPECT_EQ(ErrorOf(store_->RmDir(kBob, directory.handle, "inner")), EACCES);
  EXPECT_EQ(ErrorOf(store_->RmDir(kAlice, directory.handle, "inner")), 0);
  EXPECT_EQ(ErrorOf(store_->RmDir(kAlice, root_, "d")), 0);
  EXPECT_EQ(ErrorOf(store_->Unlink(kAlice, root_, "f")), 0);
  EXPECT_EQ(ErrorOf(store_->Unlink(kAlice, root_, "f")), ENOENT);
}

TEST_P(StoreNames, AStickyDirectoryProtectsOthersFiles) {
  const StoreEntry directory = MakeDir(kRoot, "tmp", 0777);
  HostChmod("tmp", 01777);
  ASSERT_TRUE(store_->Create(kAlice, directory.handle, "hers", O_RDWR, 0666, false).ok());
  EXPECT_EQ(ErrorOf(store_->Unlink(kBob, directory.handle, "hers")), EPERM);
  EXPECT_EQ(ErrorOf(store_->Rename(kBob, directory.handle, "hers", directory.handle, "his", 0)),
            EPERM);
  EXPECT_EQ(ErrorOf(store_->Unlink(kAlice, directory.handle, "hers")), 0);
}

TEST_P(StoreNames, RenameReplacesExchangesAndRefusesToReplace) {
  const StoreEntry a = MakeFile(kAlice, "a", "A"), b = MakeFile(kAlice, "b", "B");
  EXPECT_EQ(ErrorOf(store_->Rename(kAlice, root_, "a", root_, "b", RENAME_NOREPLACE)), EEXIST);
  EXPECT_EQ(ErrorOf(store_->Rename(kAlice, root_, "a", root_, "b", RENAME_EXCHANGE)), 0);
  EXPECT_EQ(store_->Lookup(kAlice, root_, "a").value().handle, b.handle);
  EXPECT_EQ(ErrorOf(store_->Rename(kAlice, root_, "a", root_, "b", 0)), 0);
  EXPECT_EQ(ErrorOf(store_->Lookup(kAlice, root_, "a")), ENOENT);
  EXPECT_EQ(store_->Lookup(kAlice, root_, "b").value().handle, b.handle);
  EXPECT_EQ(ErrorOf(store_->Rename(kAlice, root_, "b", root_, "c", RENAME_WHITEOUT)), EINVAL);
  (void)a;
}

TEST_P(StoreNames, ADirectoryCannotMoveBelowItself) {
  const StoreEntry directory = MakeDir(kAlice, "d");
  EXPECT_EQ(ErrorOf(store_->Rename(kAlice, root_, "d", directory.handle, "inner", 0)), EINVAL);
}

TEST_P(StoreNames, HandlesFollowARenameAcrossDirectories) {
  const StoreEntry directory = MakeDir(kAlice, "d"), file = MakeFile(kAlice, "f", "content");
  ASSERT_TRUE(store_->Rename(kAlice, root_, "f", directory.handle, "moved", 0).ok());
  auto opened = store_->Open(kAlice, file.handle, O_RDONLY, false);
  ASSERT_TRUE(opened.ok()) << opened.error().ToString();
  EXPECT_EQ(Get(*opened->file), "content");
}

TEST_P(StoreNames, LinksAreMadeOfFilesAndSymlinks) {
  const StoreEntry file = MakeFile(kAlice, "f", "x");
  auto link = store_->SymLink(kAlice, root_, "s", "nowhere");
  ASSERT_TRUE(link.ok());
  auto second = store_->Link(kAlice, file.handle, root_, "f2");
  ASSERT_TRUE(second.ok()) << second.error().ToString();
  EXPECT_EQ(second->attributes.nlink, 2u);
  EXPECT_EQ(second->handle, file.handle);
  auto second_link = store_->Link(kAlice, link->handle, root_, "s2");
  ASSERT_TRUE(second_link.ok()) << second_link.error().ToString();
  EXPECT_EQ(second_link->attributes.mode & S_IFMT, uint32_t{S_IFLNK});
  EXPECT_EQ(ErrorOf(store_->Link(kAlice, file.handle, root_, "f2")), EEXIST);
  const StoreEntry directory = MakeDir(kAlice, "d");
  EXPECT_EQ(ErrorOf(store_->Link(kAlice, directory.handle, root_, "d2")), EPERM);
}

TEST_P(StoreNames, AttachReachesDirectoriesBelowTheExportAndNothingOutside) {
  const StoreEntry directory = MakeDir(kRoot, "a");
  auto inner = store_->MkDir(kRoot, directory.handle, "b", 0755);
  ASSERT_TRUE(inner.ok());
  ASSERT_EQ(symlink("/a/b", Host("inside").c_str()), 0);
  ASSERT_EQ(symlink("/proc/self/root/etc", Host("outside").c_str()), 0);
  ASSERT_EQ(symlink("../../../../../a", Host("up").c_str()), 0);
  MakeFile(kRoot, "file");
  EXPECT_EQ(store_->Attach(kRoot, "a/b").value().handle, inner->handle);
  EXPECT_EQ(store_->Attach(kRoot, "/a//b/").value().handle, inner->handle);
  EXPECT_EQ(store_->Attach(kRoot, "inside").value().handle, inner->handle);
  EXPECT_EQ(store_->Attach(kRoot, "up").value().handle, directory.handle);
  EXPECT_EQ(store_->Attach(kRoot, "..").value().handle, root_);
  EXPECT_EQ(ErrorOf(store_->Attach(kRoot, "outside")), ENOENT);
  EXPECT_EQ(ErrorOf(store_->Attach(kRoot, "file")), ENOTDIR);
  EXPECT_EQ(ErrorOf(store_->Attach(kRoot, std::string_view("a\0b", 3))), EINVAL);
}

TEST_P(StoreNames, ARemovedExportIsStale) {
  ASSERT_EQ(rmdir(path_.c_str()), 0);
  EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, root_, "x")), ESTALE);
  EXPECT_EQ(ErrorOf(store_->GetAttr(kRoot, root_, nullptr)), ESTALE);
  EXPECT_EQ(ErrorOf(store_->Attach(kRoot, "")), ESTALE);
}

// A tmpfs mounted on a directory of the export.
class MountBelow {
 public:
  explicit MountBelow(const std::string& point) : point_(point) {
    mounted_ = mount("test", point.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~MountBelow() {
    if (mounted_) umount2(point_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  const std::string point_;
  bool mounted_;
};

TEST_P(StoreNames, MountPointsAreNotCrossedUnlessAskedTo) {
  const StoreEntry point = MakeDir(kRoot, "point");
  MountBelow mount(Host("point"));
  ASSERT_TRUE(mount.mounted());
  ASSERT_EQ(::mkdir(Host("point/inside").c_str(), 0755), 0);
  auto covered = store_->Lookup(kRoot, root_, "point");
  if (table()) {
    EXPECT_EQ(ErrorOf(covered), EXDEV);
  } else {
    ASSERT_TRUE(covered.ok()) << covered.error().ToString();
    EXPECT_EQ(covered->handle, point.handle);
    EXPECT_EQ(ErrorOf(store_->Lookup(kRoot, covered->handle, "inside")), ENOENT);
  }
}

TEST_P(StoreNames, WithCrossMountFileSystemsBelowAreServedAndTheirHandlesSurviveARestart) {
  MakeDir(kRoot, "point");
  MountBelow mount(Host("point"));
  ASSERT_TRUE(mount.mounted());
  ASSERT_EQ(::mkdir(Host("point/inside").c_str(), 0755), 0);
  options_.cross_mounts = true;
  Restart();
  auto point = store_->Lookup(kRoot, root_, "point");
  ASSERT_TRUE(point.ok()) << point.error().ToString();
  auto inside = store_->Lookup(kRoot, point->handle, "inside");
  ASSERT_TRUE(inside.ok()) << inside.error().ToString();
  EXPECT_EQ(ErrorOf(store_->SyncFs(inside->handle)), 0);
  if (!table()) {
    Restart();
    auto again = store_->GetAttr(kRoot, inside->handle, nullptr);
    ASSERT_TRUE(again.ok()) << again.error().ToString();
    EXPECT_EQ(again->ino, inside->attributes.ino);
  }
  store_.reset();
}

}  // namespace
}  // namespace rdmafs
