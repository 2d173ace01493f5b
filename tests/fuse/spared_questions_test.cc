// Which questions of the kernel are answered without asking the server, and which must not be.
#include "client/layer.h"
#include "tests/fuse/handlers_fixture.h"

namespace rdmafs::fuse {
namespace {

// Counts what the server is asked, and says of what is looked up whether it has extended
// attributes, as a server does.
class Asked final : public Layer {
 public:
  using Layer::Layer;
  void Lookup(const Caller& caller, const FileHandle& parent, std::string_view name,
              Reply<Entry> reply) override {
    next().Lookup(caller, parent, name,
                  [this, reply = std::move(reply)](Result<Entry> entry) mutable {
                    if (entry.ok()) entry->attributes.flags |= flags;
                    Complete(std::move(reply), std::move(entry));
                  });
  }
  void MkNod(const Caller& caller, const FileHandle& parent, std::string_view name, uint32_t mode,
             uint32_t rdev_major, uint32_t rdev_minor, Reply<Entry> reply) override {
    next().MkNod(caller, parent, name, mode, rdev_major, rdev_minor,
                 [this, reply = std::move(reply)](Result<Entry> entry) mutable {
                   Complete(std::move(reply), std::move(entry));
                 });
  }
  void GetAttr(const Caller& caller, const FileHandle& handle, OpenId id,
               Reply<Attributes> reply) override {
    ++attributes;
    next().GetAttr(caller, handle, id, std::move(reply));
  }
  void GetXattr(const Caller& caller, const FileHandle& handle, std::string_view name,
                uint32_t size, PayloadMemory destination, Reply<XattrValue> reply) override {
    ++xattrs;
    next().GetXattr(caller, handle, name, size, std::move(destination), std::move(reply));
  }
  void ListXattr(const Caller& caller, const FileHandle& handle, uint32_t size,
                 PayloadMemory destination, Reply<XattrValue> reply) override {
    ++xattrs;
    next().ListXattr(caller, handle, size, std::move(destination), std::move(reply));
  }
  void ReadDir(const Caller& caller, ReadDirRequest request, Reply<Payload> reply) override {
    ++listings;
    const absl::Span<std::byte> space = request.destination.bytes;
    next().ReadDir(caller, std::move(request),
                   [this, space, reply = std::move(reply)](Result<Payload> payload) mutable {
                     if (payload.ok() && !payload->bytes.empty() && says_end) {
                       wire::DirentHeader end{};
                       end.flags = wire::kDirentEnd;
                       end.record_size = sizeof end;
                       std::memcpy(space.data() + payload->bytes.size(), &end, sizeof end);
                       payload->bytes = space.first(payload->bytes.size() + sizeof end);
                     }
                     reply.Complete(std::move(payload));
                   });
  }

  // What was answered while `hold` was set.
  void AnswerHeld() {
    hold = false;
    for (auto& [reply, entry] : held) reply.Complete(std::move(entry));
    held.clear();
  }

  uint32_t flags = wire::kPlain | wire::kPlainToRoot;
  bool says_end = true, hold = false;
  int attributes = 0, xattrs = 0, listings = 0;

 private:
  void Complete(Reply<Entry> reply, Result<Entry> entry) {
    if (!hold) return reply.Complete(std::move(entry));
    held.emplace_back(std::move(reply), std::move(entry));
  }
  std::vector<std::pair<Reply<Entry>, Result<Entry>>> held;
};

class SparedQuestions : public HandlersTest {
 protected:
  SparedQuestions() { ServeFrom(asked_); }

  uint64_t LookUpX() { return As<fuse_entry_out>(OnlyAnswer(Send(FUSE_LOOKUP, 1, kNameX))).nodeid; }
  uint64_t MakeX() {
    return As<fuse_entry_out>(
               OnlyAnswer(
                   Send(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{.mode = S_IFREG | 0644}, kNameX))))
        .nodeid;
  }
  Errno GetXattr(uint64_t node, std::string_view name) {
    return OnlyAnswer(Send(FUSE_GETXATTR, node,
                           Bytes(fuse_getxattr_in{.size = 64}, std::string(name) + '\0')))
        .error;
  }
  RecordingChannel::Answer ListXattr(uint64_t node, uint32_t size) {
    return OnlyAnswer(Send(FUSE_LISTXATTR, node, Bytes(fuse_getxattr_in{.size = size})));
  }
  Errno SetXattr(uint64_t node) {
    return OnlyAnswer(Send(FUSE_SETXATTR, node,
                           Bytes(fuse_setxattr_in{.size = 1}, std::string("trusted.x\0v", 11))))
        .error;
  }
  fuse_attr_out GetAttr(uint64_t node) {
    return As<fuse_attr_out>(OnlyAnswer(Send(FUSE_GETATTR, node, Bytes(fuse_getattr_in{}))));
  }
  uint64_t OpenRoot() {
    return As<fuse_open_out>(OnlyAnswer(Send(FUSE_OPENDIR, 1, Bytes(fuse_open_in{})))).fh;
  }
  // Where the last of the records stands.
  uint64_t List(uint64_t fh, uint64_t offset) {
    const auto answer = OnlyAnswer(
        Send(FUSE_READDIR, 1, Bytes(fuse_read_in{.fh = fh, .offset = offset, .size = 32 << 10})));
    EXPECT_EQ(answer.error, kOk);
    uint64_t last = 0;
    for (std::string_view rest = answer.bytes; !rest.empty();) {
      fuse_dirent dirent;
      std::memcpy(&dirent, rest.data(), FUSE_NAME_OFFSET);
      last = dirent.off;
      rest.remove_prefix(FUSE_DIRENT_SIZE(&dirent));
    }
    return last;
  }

  Asked asked_{*file_system_};
};

// --- Extended attributes ---

TEST_F(SparedQuestions, AnObjectWithoutExtendedAttributesIsNotAskedForThem) {
  MakeX();
  const uint64_t x = LookUpX();
  for (const char* name : wire::kPlainNames) EXPECT_EQ(GetXattr(x, name), Errno(ENODATA)) << name;
  EXPECT_EQ(As<fuse_getxattr_out>(ListXattr(x, 0)).size, 0u);
  EXPECT_EQ(ListXattr(x, 64).bytes, "");
  EXPECT_EQ(asked_.xattrs, 0);
}

TEST_F(SparedQuestions, AnyOtherNameIsTheServersToRefuse) {
  MakeX();
  (void)GetXattr(LookUpX(), "user.x");
  EXPECT_EQ(asked_.xattrs, 1);
}

TEST_F(SparedQuestions, OneThatMayHaveThoseThatOnlyRootSeesIsAskedByRoot) {
  asked_.flags = wire::kPlain;
  MakeX();
  const uint64_t x = LookUpX();
  EXPECT_EQ(GetXattr(x, "security.capability"), Errno(ENODATA));
  EXPECT_EQ(asked_.xattrs, 0);
  EXPECT_EQ(ListXattr(x, 64).error, kOk);
  EXPECT_EQ(asked_.xattrs, 1);
  uid_ = 1000;
  EXPECT_EQ(ListXattr(x, 64).bytes, "");
  EXPECT_EQ(asked_.xattrs, 1);
}

TEST_F(SparedQuestions, OneThatMayHaveSomeIsAskedForThem) {
  asked_.flags = 0;
  MakeX();
  const uint64_t x = LookUpX();
  EXPECT_EQ(GetXattr(x, "security.capability"), Errno(ENODATA));
  EXPECT_EQ(ListXattr(x, 64).error, kOk);
  EXPECT_EQ(asked_.xattrs, 2);
}

TEST_F(SparedQuestions, NothingIsBelievedBeyondTheTimeOfAttributes) {
  settings_.attr_timeout = kMillisecond;
  MakeX();
  const uint64_t x = LookUpX();
  const Nanoseconds until = clock_.Now() + kMillisecond;
  while (clock_.Now() <= until) {
  }
  (void)GetXattr(x, "security.capability");
  EXPECT_EQ(asked_.xattrs, 1);
}

TEST_F(SparedQuestions, WhoseAttributesWereChangedIsAskedAgain) {
  MakeX();
  const uint64_t x = LookUpX();
  ASSERT_EQ(SetXattr(x), kOk);
  EXPECT_EQ(ListXattr(x, 64).bytes, std::string("trusted.x\0", 10));
  EXPECT_EQ(asked_.xattrs, 1);
}

TEST_F(SparedQuestions, AnAnswerFromBeforeTheChangeSaysNothingOfItAfterwards) {
  MakeX();
  const uint64_t x = LookUpX();
  asked_.hold = true;
  const uint64_t lookup = Send(FUSE_LOOKUP, 1, kNameX);
  ASSERT_EQ(SetXattr(x), kOk);
  asked_.AnswerHeld();
  EXPECT_EQ(OnlyAnswer(lookup).error, kOk);
  EXPECT_EQ(ListXattr(x, 64).bytes, std::string("trusted.x\0", 10));
}

// --- Attributes of directories ---

TEST_F(SparedQuestions, TheDirectoryWhoseNamesChangedIsKnownFromTheAnswer) {
  MakeX();
  const fuse_attr_out made = GetAttr(1);
  EXPECT_EQ(OnlyAnswer(Send(FUSE_UNLINK, 1, kNameX)).error, kOk);
  const fuse_attr_out removed = GetAttr(1);
  EXPECT_EQ(asked_.attributes, 0);
  struct stat now;
  ASSERT_EQ(::stat(path_.c_str(), &now), 0);
  EXPECT_EQ(removed.attr.mtimensec, static_cast<uint32_t>(now.st_mtim.tv_nsec));
  EXPECT_EQ(removed.attr.size, static_cast<uint64_t>(now.st_size));
  EXPECT_NE(made.attr.size, removed.attr.size) << "tmpfs counts the names";
  EXPECT_LT(removed.attr_valid, 1u) << "it is not believed for longer than from the change on";
  GetAttr(1);
  EXPECT_EQ(asked_.attributes, 1) << "the second time it is something else that the kernel wants";
}

TEST_F(SparedQuestions, AChangeOfTheDirectoryItselfIsSeenByTheNextQuestion) {
  MakeX();
  const fuse_setattr_in mode{.valid = FATTR_MODE, .mode = 0750};
  EXPECT_EQ(OnlyAnswer(Send(FUSE_SETATTR, 1, Bytes(mode))).error, kOk);
  EXPECT_EQ(GetAttr(1).attr.mode & 07777, 0750u);
  EXPECT_EQ(asked_.attributes, 1);
}

TEST_F(SparedQuestions, AnAnswerFromBeforeAChangeOfTheDirectoryIsNotKept) {
  asked_.hold = true;
  Send(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{.mode = S_IFREG | 0644}, kNameX));
  const fuse_setattr_in mode{.valid = FATTR_MODE, .mode = 0750};
  EXPECT_EQ(OnlyAnswer(Send(FUSE_SETATTR, 1, Bytes(mode))).error, kOk);
  asked_.AnswerHeld();
  EXPECT_EQ(GetAttr(1).attr.mode & 07777, 0750u);
}

TEST_F(SparedQuestions, ADirectoryThatWasReadHasAnotherTimeOfAccess) {
  const uint64_t fh = OpenRoot();
  MakeX();
  List(fh, 0);
  GetAttr(1);
  EXPECT_EQ(asked_.attributes, 1);
}

TEST_F(SparedQuestions, ADirectoryThatWasRemovedIsNotShownAsItWas) {
  const auto directory = As<fuse_entry_out>(
      OnlyAnswer(Send(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}, kNameX))));
  const uint64_t d = directory.nodeid;
  Send(FUSE_MKNOD, d, Bytes(fuse_mknod_in{.mode = S_IFREG | 0644}, kNameX));
  Send(FUSE_UNLINK, d, kNameX);
  EXPECT_EQ(OnlyAnswer(Send(FUSE_RMDIR, 1, kNameX)).error, kOk);
  EXPECT_EQ(GetAttr(d).attr.nlink, 0u);
}

TEST_F(SparedQuestions, WithoutATimeForAttributesEveryQuestionIsAsked) {
  settings_.attr_timeout = 0;
  MakeX();
  const uint64_t x = LookUpX();
  GetAttr(1);
  (void)GetXattr(x, "security.capability");
  EXPECT_EQ(asked_.attributes, 1);
  EXPECT_EQ(asked_.xattrs, 1);
}

// --- Ends of directories ---

TEST_F(SparedQuestions, AnEndThatTheServerSaidIsNotAskedForAgain) {
  MakeX();
  const uint64_t fh = OpenRoot();
  const uint64_t end = List(fh, 0);
  ASSERT_NE(end, 0u);
  EXPECT_EQ(List(fh, end), 0u);
  EXPECT_EQ(asked_.listings, 1);
}

TEST_F(SparedQuestions, WhoReadsOnBehindTheEndOnceMoreFindsWhatCameSince) {
  MakeX();
  const uint64_t fh = OpenRoot();
  const uint64_t end = List(fh, 0);
  List(fh, end);
  List(fh, end);
  EXPECT_EQ(asked_.listings, 2);
  List(fh, 0);
  EXPECT_EQ(asked_.listings, 3) << "the beginning is not the end";
}

TEST_F(SparedQuestions, AnEndCountsOnlyForWhoReadUpToItLast) {
  MakeX();
  const uint64_t fh = OpenRoot();
  const uint64_t end = List(fh, 0);
  asked_.says_end = false;  // as when there is more by then
  List(fh, 0);
  List(fh, end);
  EXPECT_EQ(asked_.listings, 3);
}

TEST_F(SparedQuestions, AnEndThatWasNotSaidIsAskedFor) {
  asked_.says_end = false;
  MakeX();
  const uint64_t fh = OpenRoot();
  List(fh, List(fh, 0));
  EXPECT_EQ(asked_.listings, 2);
}

}  // namespace
}  // namespace rdmafs::fuse
