// A server without root: it serves as the one user that it runs as.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "server/posix_store.h"
#include "tests/server/own_process.h"

namespace rdmafs {
namespace {

// In a process of its own; it ends with status 0 when all was as it should be.
[[noreturn]] void ServeAsUser1001() {
  std::string path = "/tmp/rdmafs-user-XXXXXX";
  OR_FAIL(setresgid(1001, 1001, 1001) == 0 && setresuid(1001, 1001, 1001) == 0);
  OR_FAIL(mkdtemp(path.data()) != nullptr);
  MonotonicClock clock;
  PosixStoreOptions options;
  options.path = path;
  options.clock = &clock;
  auto store = PosixStore::Open(options);
  OR_FAIL(store.ok());
  const Identity root{0, 0, 0027, {}}, other{1002, 1002, 0, {}};
  auto top = (*store)->Attach(root, "");
  OR_FAIL(top.ok());
  auto made = (*store)->Create(other, top->handle, "f", O_RDWR, 0666, false);
  OR_FAIL(made.ok() && made->entry.attributes.uid == 1001 &&
          (made->entry.attributes.mode & 0777) == 0666);
  auto strict = (*store)->MkDir(root, top->handle, "d", 0777);
  OR_FAIL(strict.ok() && (strict->attributes.mode & 0777) == 0750);
  OR_FAIL((*store)->Lookup(other, top->handle, "f")->handle == made->entry.handle);
  OR_FAIL((*store)->GetAttr(other, made->entry.handle, nullptr).ok());
  OR_FAIL((*store)->Unlink(root, top->handle, "f").ok());
  const wire::SetAttributes give_away{.valid = wire::kSetUid, .uid = 1002};
  OR_FAIL((*store)->SetAttr(root, strict->handle, nullptr, give_away).error() == Errno(EPERM));
  std::filesystem::remove_all(path);
  _exit(0);
}

TEST(StoreUnprivileged, ServesEveryoneAsTheUserThatItRunsAs) {
  // Re-executed: what a process may do is found out once.
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(ServeAsUser1001(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace rdmafs
