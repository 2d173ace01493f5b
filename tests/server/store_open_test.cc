// Open files: creating, opening, reading, writing, holes, copies.
#include <linux/falloc.h>
#include <poll.h>

#include <numeric>

#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

class StoreOpen : public StoreTest {};
RDMAFS_IN_ALL_PLACES(StoreOpen);

TEST_P(StoreOpen, CreateMakesOpensOrRefuses) {
  auto made = store_->Create(kAlice, root_, "f", O_WRONLY | O_EXCL, 0644, false);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->entry.attributes.uid, 1001u);
  ASSERT_TRUE(Put(*made->file, "hello", 0).ok());
  EXPECT_EQ(ErrorOf(store_->Create(kAlice, root_, "f", O_WRONLY | O_EXCL, 0644, false)), EEXIST);
  auto again = store_->Create(kAlice, root_, "f", O_RDWR, 0600, false);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->entry.handle, made->entry.handle);
  EXPECT_EQ(again->entry.attributes.mode & 0777, 0644u);
  EXPECT_EQ(Get(*again->file), "hello");
  EXPECT_EQ(ErrorOf(store_->Create(kBob, root_, "f", O_RDWR, 0600, false)), EACCES);
  auto cut = store_->Create(kAlice, root_, "f", O_WRONLY | O_TRUNC, 0600, false);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->entry.attributes.size, 0u);
}

TEST_P(StoreOpen, AFileWithoutPermissionsCanStillBeCreatedAndWritten) {
  auto made = store_->Create(kAlice, root_, "f", O_WRONLY, 0, false);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(Put(*made->file, "x", 0, kAlice).value(), 1u);
  EXPECT_EQ(ErrorOf(store_->Open(kAlice, made->entry.handle, O_RDONLY, false)), EACCES);
}

TEST_P(StoreOpen, PermissionsAreTheCallers) {
  const StoreEntry file = MakeFile(kAlice, "f", "secret", 0620);
  HostChown("f", 1001, 1002);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDONLY, false)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDWR, false)), EACCES);
  auto write_only = store_->Open(kBob, file.handle, O_WRONLY, false);
  ASSERT_TRUE(write_only.ok()) << write_only.error().ToString();
  std::byte byte;
  EXPECT_EQ(ErrorOf(write_only->file->Read({&byte, 1}, 0)), EBADF);
  EXPECT_EQ(Put(*write_only->file, "S", 0, kBob).value(), 1u);
}

TEST_P(StoreOpen, WriteOnlyFilesCanBeReadWhereTheCallerMayRead) {
  const StoreEntry file = MakeFile(kAlice, "f", "content");
  auto opened = store_->Open(kAlice, file.handle, O_WRONLY, false);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(Get(*opened->file), "content");
  EXPECT_EQ(opened->file->flags() & O_ACCMODE, uint32_t{O_WRONLY});
}

TEST_P(StoreOpen, TruncatingOnOpenNeedsPermissionAndClearsSuid) {
  const StoreEntry file = MakeFile(kAlice, "f", "content", 0755);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDONLY | O_TRUNC, false)), EACCES);
  EXPECT_EQ(HostStat("f").st_size, 7);
  HostChmod("f", 06755);
  auto opened = store_->Open(kRoot, file.handle, O_WRONLY | O_TRUNC, true);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->entry.attributes.size, 0u);
  EXPECT_EQ(opened->entry.attributes.mode & 07777, 0755u);
}

TEST_P(StoreOpen, PipesSocketsAndDevicesAreNeverOpened) {
  auto pipe = store_->MkNod(kAlice, root_, "pipe", S_IFIFO | 0666, 0, 0);
  auto socket = store_->MkNod(kAlice, root_, "socket", S_IFSOCK | 0666, 0, 0);
  auto device = store_->MkNod(kRoot, root_, "device", S_IFCHR | 0666, 1, 3);
  ASSERT_TRUE(pipe.ok() && socket.ok() && device.ok());
  for (const char* name : {"pipe", "socket", "device"}) {
    auto entry = store_->Lookup(kAlice, root_, name);
    ASSERT_TRUE(entry.ok());
    for (uint32_t flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
      EXPECT_EQ(ErrorOf(store_->Open(kAlice, entry->handle, flags, false)), ENXIO) << name;
      EXPECT_EQ(ErrorOf(store_->Create(kAlice, root_, name, flags, 0644, false)), ENXIO) << name;
    }
  }
}

TEST_P(StoreOpen, DirectoriesOpenForReadingOnly) {
  const StoreEntry directory = MakeDir(kAlice, "d"), file = MakeFile(kAlice, "f");
  EXPECT_EQ(ErrorOf(store_->Open(kAlice, directory.handle, O_RDWR, false)), EISDIR);
  EXPECT_EQ(ErrorOf(store_->Create(kAlice, root_, "d", O_RDONLY, 0644, false)), EISDIR);
  EXPECT_EQ(ErrorOf(store_->Open(kAlice, file.handle, O_RDONLY | O_DIRECTORY, false)), ENOTDIR);
  auto opened = store_->Open(kAlice, directory.handle, O_RDONLY | O_DIRECTORY, false);
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->file->fd(), -1);
  EXPECT_EQ(ErrorOf(opened->file->Fsync(false)), 0);
  std::byte byte;
  EXPECT_EQ(ErrorOf(opened->file->Read({&byte, 1}, 0)), EISDIR);
}

TEST_P(StoreOpen, FlagsThatMakeNoSenseAreRefused) {
  const StoreEntry file = MakeFile(kAlice, "f");
  for (uint32_t flags : {uint32_t{O_ACCMODE}, uint32_t{O_PATH}, uint32_t{O_TMPFILE | O_RDWR}}) {
    EXPECT_EQ(ErrorOf(store_->Open(kAlice, file.handle, flags, false)), EINVAL);
    EXPECT_EQ(ErrorOf(store_->Create(kAlice, root_, "new", flags, 0644, false)), EINVAL);
  }
}

TEST_P(StoreOpen, DirectAndNonBlockingStayTheCallersBusiness) {
  const StoreEntry file = MakeFile(kAlice, "f", "0123456789");
  auto opened =
      store_->Open(kAlice, file.handle, O_RDWR | O_DIRECT | O_NONBLOCK | O_ASYNC | O_SYNC, false);
  ASSERT_TRUE(opened.ok());
  const int flags = fcntl(opened->file->fd(), F_GETFL);
  EXPECT_EQ(flags & (O_DIRECT | O_NONBLOCK | O_ASYNC), 0);
  EXPECT_EQ(flags & O_SYNC, O_SYNC);
  EXPECT_EQ(Get(*opened->file, 3, 1), "123");
}

TEST_P(StoreOpen, WhatMayBeExecutedCanBeOpenedForExecutionOnly) {
  constexpr uint32_t kForExecution = 0x20;
  const StoreEntry file = MakeFile(kAlice, "f", "#!program", 0711),
                   plain = MakeFile(kAlice, "g", "", 0700);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDONLY, false)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDWR | kForExecution, false)), EACCES);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDONLY | O_TRUNC | kForExecution, false)),
            EACCES);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, plain.handle, O_RDONLY | kForExecution, false)), EACCES);
  auto opened = store_->Open(kBob, file.handle, O_RDONLY | kForExecution, false);
  ASSERT_TRUE(opened.ok()) << opened.error().ToString();
  EXPECT_EQ(Get(*opened->file), "#!program");
}

TEST_P(StoreOpen, TemporaryFilesGetANameByLinkUnlessExclusive) {
  auto made = store_->TmpFile(kAlice, root_, O_RDWR, 0644);
  ASSERT_TRUE(made.ok()) << made.error().ToString();
  EXPECT_EQ(made->entry.attributes.nlink, 0u);
  ASSERT_TRUE(Put(*made->file, "abc", 0).ok());
  auto linked = store_->Link(kAlice, made->entry.handle, root_, "named");
  ASSERT_TRUE(linked.ok()) << linked.error().ToString();
  EXPECT_EQ(linked->attributes.size, 3u);
  EXPECT_EQ(linked->handle, made->entry.handle);
  auto exclusive = store_->TmpFile(kAlice, root_, O_RDWR | O_EXCL, 0644);
  ASSERT_TRUE(exclusive.ok());
  EXPECT_EQ(ErrorOf(store_->Link(kAlice, exclusive->entry.handle, root_, "never")), ENOENT);
  EXPECT_EQ(ErrorOf(store_->TmpFile(kAlice, root_, O_RDONLY, 0644)), EINVAL);
}

TEST_P(StoreOpen, ReadsAreShortOnlyAtTheEnd) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  std::string content(300'000, '\0');
  std::iota(content.begin(), content.end(), 'a');
  ASSERT_EQ(Put(*made->file, content, 0).value(), content.size());
  EXPECT_EQ(Get(*made->file, 1 << 20), content);
  EXPECT_EQ(Get(*made->file, 100, content.size() - 40), content.substr(content.size() - 40));
  EXPECT_EQ(Get(*made->file, 100, content.size()), "");
  std::byte byte;
  EXPECT_EQ(ErrorOf(made->file->Read({&byte, 1}, ~uint64_t{0})), EINVAL);
}

TEST_P(StoreOpen, WritesGatherTwoPieces) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  std::string a = "first ", b = "second";
  const iovec pieces[] = {{a.data(), a.size()}, {b.data(), b.size()}};
  EXPECT_EQ(made->file->Write(pieces, 2, false, kAlice).value(), 12u);
  EXPECT_EQ(Get(*made->file), std::string("\0\0first second", 14));
}

TEST_P(StoreOpen, AppendersAppendWhateverTheOffset) {
  const StoreEntry file = MakeFile(kAlice, "f", "begin");
  auto one = store_->Open(kAlice, file.handle, O_WRONLY | O_APPEND, false);
  auto two = store_->Open(kAlice, file.handle, O_WRONLY | O_APPEND, false);
  ASSERT_TRUE(one.ok() && two.ok());
  ASSERT_TRUE(Put(*one->file, "-one", 0).ok());
  ASSERT_TRUE(Put(*two->file, "-two", 0).ok());
  EXPECT_EQ(Get(*one->file), "begin-one-two");
}

TEST_P(StoreOpen, WritesKeepOrClearSuidAsTheyAreTold) {
  const StoreEntry file = MakeFile(kAlice, "f", "x", 0777);
  auto opened = store_->Open(kAlice, file.handle, O_WRONLY, false);
  ASSERT_TRUE(opened.ok());
  const auto mode_after = [&](const Identity& as, bool kill, mode_t before = 06777) {
    HostChmod("f", before);
    EXPECT_EQ(Put(*opened->file, "y", 0, as, kill).value(), 1u);
    return ModeOf(file.handle);
  };
  EXPECT_EQ(mode_after(kAlice, false), 06777u);
  EXPECT_EQ(mode_after(kRoot, false), 06777u);
  EXPECT_EQ(mode_after(kAlice, true), 0777u);
  EXPECT_EQ(mode_after(kBob, true), 0777u);
  EXPECT_EQ(mode_after(kRoot, true), 0777u);
  EXPECT_EQ(mode_after(kAlice, true, 02767), 02767u)
      << "sgid without group execution stays for the group's own";
}

TEST_P(StoreOpen, ReadsWithoutWaitingReadWhatIsInMemory) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(Put(*made->file, "0123456789", 0).ok());
  std::byte bytes[20];
  auto read = made->file->ReadNoWait({bytes, 10}, 0);
  ASSERT_TRUE(read.ok()) << read.error().ToString();
  EXPECT_EQ(Text({bytes, *read}), "0123456789");
  read = made->file->ReadNoWait({bytes, 20}, 5);
  ASSERT_TRUE(read.ok()) << read.error().ToString();
  EXPECT_EQ(Text({bytes, *read}), "56789");
  EXPECT_EQ(made->file->ReadNoWait({bytes, 20}, 50).value(), 0u);
}

// The kernel begins to read ahead before it gives EAGAIN; on a fast disk all of it may have arrived
// by the time it looks, as some reads in a hundred do on a busy machine. A read that waits never
// gives it.
TEST_P(StoreOpen, ReadsOfWhatIsNotInMemoryWouldWait) {
  if (on_tmpfs()) return;  // all of it is memory
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  const std::string content(1 << 20, 'c');
  ASSERT_TRUE(Put(*made->file, content, 0).ok());
  ASSERT_TRUE(made->file->Fsync(false).ok());
  std::vector<std::byte> bytes(content.size());
  int error = 0;
  for (int attempt = 0; attempt < 50 && error == 0; ++attempt) {
    ASSERT_EQ(posix_fadvise(made->file->fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
    const auto read = made->file->ReadNoWait(absl::MakeSpan(bytes), 0);
    error = ErrorOf(read);
    if (error == 0) {
      ASSERT_EQ(Text(absl::MakeSpan(bytes).first(*read)), content);
    }
  }
  EXPECT_EQ(error, EAGAIN);
  EXPECT_EQ(Get(*made->file, content.size()), content);
  EXPECT_TRUE(made->file->ReadNoWait(absl::MakeSpan(bytes), 0).ok());
}

TEST_P(StoreOpen, WhatIsInMemoryIsKnownWithoutReadingIt) {
  constexpr uint64_t kBytes = 1 << 20;
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  OpenFile& file = *made->file;
  ASSERT_TRUE(Put(file, std::string(kBytes, 'c'), 0).ok());
  EXPECT_TRUE(file.InMemory(0, kBytes));
  EXPECT_TRUE(file.InMemory(4095, kBytes - 4095));
  EXPECT_FALSE(file.InMemory(1, kBytes));  // over its end
  EXPECT_FALSE(file.InMemory(UINT64_MAX, kBytes));
  auto write_only = store_->Open(kAlice, made->entry.handle, O_WRONLY, false);
  ASSERT_TRUE(write_only.ok());
  EXPECT_FALSE(write_only->file->InMemory(0, kBytes));
  if (on_tmpfs()) return;  // all of it is memory
  ASSERT_TRUE(file.Fsync(false).ok());
  ASSERT_EQ(posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_FALSE(file.InMemory(0, kBytes));
  // The last page alone is not enough.
  ASSERT_EQ(posix_fadvise(file.fd(), 0, 0, POSIX_FADV_RANDOM), 0);
  char last;
  ASSERT_EQ(pread(file.fd(), &last, 1, kBytes - 1), 1);
  EXPECT_FALSE(file.InMemory(0, kBytes));
  EXPECT_TRUE(file.InMemory(kBytes - 4096, 4096));
  EXPECT_EQ(Get(file, kBytes), std::string(kBytes, 'c'));
  EXPECT_TRUE(file.InMemory(0, kBytes));
}

TEST_P(StoreOpen, WritesWithoutWaitingAreDoneOrGivenBack) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  std::string text = "text";
  const iovec piece{text.data(), text.size()};
  auto written = made->file->WriteNoWait({&piece, 1}, 3);
  if (on_tmpfs()) {
    EXPECT_EQ(written.value(), 4u);
  } else if (!written.ok()) {
    EXPECT_EQ(ErrorOf(written), EAGAIN);
  }
  EXPECT_EQ(HostStat("f").st_size, written.ok() ? 7 : 0);
  auto read_only = store_->Open(kAlice, made->entry.handle, O_RDONLY, false);
  ASSERT_TRUE(read_only.ok());
  EXPECT_FALSE(read_only->file->WriteNoWait({&piece, 1}, 3).ok());
}

TEST_P(StoreOpen, HolesAreFoundAndPunched) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(Put(*made->file, std::string(8192, 'x'), 1 << 20).ok());
  EXPECT_EQ(made->file->Seek(0, SEEK_DATA).value(), uint64_t{1 << 20});
  EXPECT_EQ(made->file->Seek(0, SEEK_HOLE).value(), 0u);
  EXPECT_EQ(ErrorOf(made->file->Seek(2 << 20, SEEK_DATA)), ENXIO);
  EXPECT_EQ(ErrorOf(made->file->Seek(0, SEEK_END)), EINVAL);
  const uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  EXPECT_EQ(ErrorOf(made->file->Fallocate(kAlice, 1 << 20, 4096, punch)), 0);
  EXPECT_EQ(made->file->Seek(0, SEEK_DATA).value(), uint64_t{(1 << 20) + 4096});
  EXPECT_EQ(ErrorOf(made->file->Fallocate(kAlice, 0, 4 << 20, 0)), 0);
  EXPECT_EQ(HostStat("f").st_size, 4 << 20);
  EXPECT_EQ(ErrorOf(made->file->Fallocate(kAlice, ~uint64_t{0}, 1, 0)), EFBIG);
}

TEST_P(StoreOpen, FilesOfMoreThanFourGibibytesWork) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  const uint64_t far = uint64_t{5} << 30;
  ASSERT_EQ(Put(*made->file, "far", far).value(), 3u);
  EXPECT_EQ(Get(*made->file, 10, far), "far");
  EXPECT_EQ(store_->GetAttr(kAlice, made->entry.handle, nullptr).value().size, far + 3);
}

TEST_P(StoreOpen, CopyRangeCopiesOnTheServer) {
  const StoreEntry from = MakeFile(kAlice, "from", "0123456789");
  auto in = store_->Open(kAlice, from.handle, O_RDONLY, false);
  auto out = store_->Create(kAlice, root_, "to", O_RDWR, 0644, false);
  ASSERT_TRUE(in.ok() && out.ok());
  EXPECT_EQ(in->file->CopyRange(kAlice, 2, *out->file, 1, 100).value(), 8u);
  EXPECT_EQ(Get(*out->file), std::string("\0"
                                         "23456789",
                                         9));
  EXPECT_EQ(in->file->CopyRange(kAlice, 10, *out->file, 0, 5).value(), 0u);
  EXPECT_EQ(ErrorOf(in->file->CopyRange(kAlice, ~uint64_t{0}, *out->file, 0, 5)), EINVAL);
  EXPECT_EQ(ErrorOf(out->file->CopyRange(kAlice, 0, *in->file, 0, 5)), EBADF);
}

TEST_P(StoreOpen, UnlinkedFilesGiveTheirSpaceBackWhenTheLastOneClosesThem) {
  auto made = store_->Create(kAlice, root_, "f", O_RDWR, 0644, false);
  ASSERT_TRUE(made.ok());
  ASSERT_EQ(ErrorOf(made->file->Fallocate(kAlice, 0, 1 << 20, 0)), 0);
  ASSERT_TRUE(store_->Unlink(kAlice, root_, "f").ok());
  EXPECT_EQ(ErrorOf(made->file->Fsync(true)), 0);
  const wire::FileHandle handle = made->entry.handle;
  made->file.reset();
  if (table()) store_->Forget(handle);
  EXPECT_EQ(store_->open_objects(), 0u);
  EXPECT_EQ(ErrorOf(store_->GetAttr(kAlice, handle, nullptr)), ESTALE);
}

}  // namespace
}  // namespace rdmafs
