// Extended attributes and POSIX ACLs, as several users.
#include <sys/xattr.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/store_fixture.h"

namespace rdmafs {
namespace {

class StoreXattr : public StoreTest {
 protected:
  Result<std::string> Read(const Identity& as, const wire::FileHandle& handle,
                           std::string_view name) {
    std::vector<std::byte> value(wire::kMaxXattrBytes);
    auto size = store_->GetXattr(as, handle, name, absl::MakeSpan(value));
    if (!size.ok()) return size.error();
    return Text({value.data(), *size});
  }
  // Names of a file, in the kernel's form.
  std::string List(const Identity& as, const wire::FileHandle& handle) {
    std::vector<std::byte> names(wire::kMaxXattrBytes);
    auto size = store_->ListXattr(as, handle, absl::MakeSpan(names));
    EXPECT_TRUE(size.ok()) << size.error().ToString();
    return size.ok() ? Text({names.data(), *size}) : "";
  }
};
RDMAFS_IN_ALL_PLACES(StoreXattr);

// One entry of the kernel's representation of an ACL (linux/posix_acl_xattr.h).
struct AclEntry {
  uint16_t tag, permissions;
  uint32_t id;
};
constexpr uint32_t kNoId = ~uint32_t{0};

std::string Acl(const std::vector<AclEntry>& entries) {
  const uint32_t version = 2;
  std::string text(reinterpret_cast<const char*>(&version), sizeof version);
  text.append(reinterpret_cast<const char*>(entries.data()), entries.size() * sizeof(AclEntry));
  return text;
}
// user::rwx user:1002:rw- group::r-x mask::rwx other::---
std::string AclForBob() {
  return Acl({{1, 7, kNoId}, {2, 6, 1002}, {4, 5, kNoId}, {16, 7, kNoId}, {32, 0, kNoId}});
}

TEST_P(StoreXattr, TrustedAttributesAreForRootOnly) {
  const StoreEntry file = MakeFile(kAlice, "f");
  EXPECT_EQ(ErrorOf(store_->SetXattr(kRoot, file.handle, "trusted.x", "value", 0, false)), 0);
  EXPECT_EQ(Read(kRoot, file.handle, "trusted.x").value(), "value");
  EXPECT_EQ(ErrorOf(Read(kAlice, file.handle, "trusted.x")), ENODATA);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kAlice, file.handle, "trusted.x", "v", 0, false)), EPERM);
  EXPECT_EQ(List(kAlice, file.handle).find("trusted"), std::string::npos);
  EXPECT_NE(List(kRoot, file.handle).find("trusted.x"), std::string::npos);
  EXPECT_EQ(ErrorOf(store_->RemoveXattr(kRoot, file.handle, "trusted.x")), 0);
}

// As a client's kernel asks for it, in the name of who writes.
TEST_P(StoreXattr, CapabilitiesAreTakenByWhoeverMayWriteAndByTheOwner) {
  constexpr std::string_view kName = "security.capability";
  const std::string bind("\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  struct {
    uint32_t mode;
    const Identity& as;
    int expected;
  } const cases[] = {{0500, kAlice, 0}, {0755, kBob, EPERM}, {0757, kBob, 0}, {0755, kRoot, 0}};
  for (const auto& [mode, as, expected] : cases) {
    const StoreEntry file = MakeFile(kAlice, absl::StrCat("f", as.uid, mode), "", mode);
    ASSERT_EQ(ErrorOf(store_->SetXattr(kRoot, file.handle, kName, bind, 0, false)), 0);
    EXPECT_EQ(ErrorOf(store_->RemoveXattr(as, file.handle, kName)), expected) << mode;
    EXPECT_EQ(Read(kRoot, file.handle, kName).ok(), expected != 0);
    EXPECT_EQ(ErrorOf(store_->SetXattr(kAlice, file.handle, kName, bind, 0, false)), EPERM);
  }
}

TEST_P(StoreXattr, UserAttributesObeyTheFilesPermissions) {
  const StoreEntry file = MakeFile(kAlice, "f", "", 0640);
  const int supported =
      ErrorOf(store_->SetXattr(kAlice, file.handle, "user.x", "one", XATTR_CREATE, false));
  if (on_tmpfs() && supported == EOPNOTSUPP) return;  // before Linux 6.6
  ASSERT_EQ(supported, 0);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kAlice, file.handle, "user.x", "two", XATTR_CREATE, false)),
            EEXIST);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kAlice, file.handle, "user.y", "two", XATTR_REPLACE, false)),
            ENODATA);
  EXPECT_EQ(Read(kAlice, file.handle, "user.x").value(), "one");
  EXPECT_EQ(ErrorOf(Read(kBob, file.handle, "user.x")), EACCES);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kBob, file.handle, "user.x", "two", 0, false)), EACCES);
  EXPECT_EQ(store_->GetXattr(kAlice, file.handle, "user.x", {}).value(), 3u)
      << "size 0 asks for the size";
  std::byte byte;
  EXPECT_EQ(ErrorOf(store_->GetXattr(kAlice, file.handle, "user.x", {&byte, 1})), ERANGE);
  EXPECT_EQ(ErrorOf(store_->RemoveXattr(kBob, file.handle, "user.x")), EACCES);
  EXPECT_EQ(ErrorOf(store_->RemoveXattr(kAlice, file.handle, "user.x")), 0);
  EXPECT_EQ(ErrorOf(store_->RemoveXattr(kAlice, file.handle, "user.x")), ENODATA);
}

TEST_P(StoreXattr, SymlinksThemselvesAreAsked) {
  const StoreEntry file = MakeFile(kAlice, "f");
  auto link = store_->SymLink(kAlice, root_, "link", "f");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(ErrorOf(store_->SetXattr(kAlice, link->handle, "user.x", "v", 0, false)), EPERM);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kRoot, link->handle, "trusted.x", "v", 0, false)), 0);
  EXPECT_EQ(ErrorOf(Read(kRoot, file.handle, "trusted.x")), ENODATA);
}

TEST_P(StoreXattr, NamesThatCannotBeAreRefused) {
  const StoreEntry file = MakeFile(kAlice, "f");
  EXPECT_EQ(ErrorOf(Read(kAlice, file.handle, "")), ERANGE);
  EXPECT_EQ(ErrorOf(Read(kAlice, file.handle, std::string(256, 'x'))), ERANGE);
  EXPECT_EQ(ErrorOf(Read(kAlice, file.handle, std::string_view("user.a\0b", 8))), ERANGE);
  EXPECT_EQ(ErrorOf(Read(kAlice, file.handle, "nonsense")), EOPNOTSUPP);
}

TEST_P(StoreXattr, AnAccessAclGrantsAndIsShownInTheMode) {
  const StoreEntry file = MakeFile(kAlice, "f", "text", 0600);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDWR, false)), EACCES);
  EXPECT_EQ(ErrorOf(store_->SetXattr(kBob, file.handle, "system.posix_acl_access", AclForBob(), 0,
                                     false)),
            EPERM);
  ASSERT_EQ(ErrorOf(store_->SetXattr(kAlice, file.handle, "system.posix_acl_access", AclForBob(), 0,
                                     false)),
            0);
  EXPECT_TRUE(store_->Open(kBob, file.handle, O_RDWR, false).ok());
  EXPECT_EQ(ModeOf(file.handle), 0770u);
  EXPECT_EQ(Read(kAlice, file.handle, "system.posix_acl_access").value(), AclForBob());
  EXPECT_EQ(ErrorOf(store_->RemoveXattr(kAlice, file.handle, "system.posix_acl_access")), 0);
  EXPECT_EQ(ErrorOf(store_->Open(kBob, file.handle, O_RDWR, false)), EACCES);
}

TEST_P(StoreXattr, ADefaultAclIsInheritedInPlaceOfTheUmask) {
  const StoreEntry directory = MakeDir(kAlice, "d", 0755);
  const Identity strict{1001, 1001, 0077, {}};
  ASSERT_EQ(ErrorOf(store_->SetXattr(kAlice, directory.handle, "system.posix_acl_default",
                                     AclForBob(), 0, false)),
            0);
  auto file = store_->Create(strict, directory.handle, "f", O_RDWR, 0666, false);
  auto inner = store_->MkDir(strict, directory.handle, "inner", 0777);
  auto pipe = store_->MkNod(strict, directory.handle, "pipe", S_IFIFO | 0666, 0, 0);
  ASSERT_TRUE(file.ok() && inner.ok() && pipe.ok());
  EXPECT_EQ(file->entry.attributes.mode & 0777, 0660u);
  EXPECT_EQ(inner->attributes.mode & 0777, 0770u);
  EXPECT_EQ(pipe->attributes.mode & 0777, 0660u);
  EXPECT_EQ(Read(kAlice, inner->handle, "system.posix_acl_default").value(), AclForBob());
  EXPECT_TRUE(store_->Open(kBob, file->entry.handle, O_RDWR, false).ok());
}

TEST_P(StoreXattr, AnAclDropsSgidForThoseOutsideTheGroupAndWhereAsked) {
  const StoreEntry file = MakeFile(kAlice, "f", "", 0755);
  const auto mode_after = [&](const Identity& as, bool kill) {
    HostChown("f", 1001, 5000);
    HostChmod("f", 02755);
    EXPECT_EQ(
        ErrorOf(store_->SetXattr(as, file.handle, "system.posix_acl_access", AclForBob(), 0, kill)),
        0);
    return ModeOf(file.handle);
  };
  EXPECT_EQ(mode_after(kAlice, true), 0770u);
  EXPECT_EQ(mode_after(kRoot, true), 0770u);
  EXPECT_EQ(mode_after(kRoot, false), 02770u);
}

}  // namespace
}  // namespace rdmafs
