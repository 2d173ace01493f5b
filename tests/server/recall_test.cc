// A client that comes to a new server process asks what became of what it had asked the last one.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/recall_decision.h"
#include "server/recall_log.h"
#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

class RecallTest : public ServerFixture {
 protected:
  void SetUp() override {
    StartWithLog();
    client_ = Connect();
    root_ = client_->Enter();
  }
  void TearDown() override {
    client_.reset();
    StopServer();  // before the log
  }

  void StartWithLog() {
    auto log =
        RecallLog::Over(UniqueFd(dup(calls_.get())), {.record_count = 64, .session_count = 8});
    ASSERT_TRUE(log.ok()) << log.status();
    log_ = *std::move(log);
    DecideCallsInDoubt(*log_, [this](uint32_t) { return store_.get(); });
    options_.recall_log = log_.get();
    ServerFixture::SetUp();
  }
  void RestartServer() {
    session_[0] = client_->session[0];
    session_[1] = client_->session[1];
    client_.reset();
    StopServer();
    log_.reset();
    StartWithLog();
    client_ = Connect();
    root_ = client_->Enter();
  }

  wire::MkNodRequest MakeFile(std::string_view name) { return {{}, root_, name, S_IFREG | 0644}; }
  RawClient::Answer Recall(wire::Opcode opcode, uint32_t slot, uint32_t sequence,
                           uint16_t in_slot = wire::kSetUpSlot) {
    const wire::RecallRequest request{
        {{session_[0], session_[1]}, slot, sequence, static_cast<uint32_t>(opcode), 0}};
    return client_->Ask(request, {}, in_slot);
  }

  UniqueFd calls_{memfd_create("calls", MFD_CLOEXEC)};
  std::unique_ptr<RecallLog> log_;
  std::unique_ptr<RawClient> client_;
  wire::FileHandle root_;
  uint64_t session_[2] = {0, 0};
};

TEST_F(RecallTest, TheAnswerIsTheOneThatWasLost) {
  const auto made = client_->Ask(MakeFile("new"), {}, 3);
  ASSERT_EQ(made.status(), kOk);
  RestartServer();
  const auto answer = Recall(wire::Opcode::kMkNod, 3, 1);
  ASSERT_EQ(answer.status(), kOk);
  const auto reply = answer.Decode<wire::RecallReply>();
  EXPECT_EQ(reply.fate, wire::RecallFate::kDone);
  EXPECT_EQ(reply.status, 0u);
  const auto* bytes = reinterpret_cast<const char*>(made.body.data());
  // All but the directory's attributes, which were those of that moment.
  EXPECT_EQ(answer.inline_payload,
            std::string(bytes, made.body.size() - sizeof(wire::Attributes)));
}

TEST_F(RecallTest, AnErrorIsToldAsWell) {
  ASSERT_EQ(client_->Ask(wire::UnlinkRequest{{}, root_, "none"}, {}, 3).status(), Errno(ENOENT));
  RestartServer();
  const auto reply = Recall(wire::Opcode::kUnlink, 3, 1).Decode<wire::RecallReply>();
  EXPECT_EQ(reply.fate, wire::RecallFate::kDone);
  EXPECT_EQ(reply.status, static_cast<uint32_t>(ENOENT));
}

TEST_F(RecallTest, ACallThatNeverArrivedWasNeverBegun) {
  ASSERT_EQ(client_->Ask(MakeFile("new"), {}, 3).status(), kOk);
  RestartServer();
  EXPECT_EQ(Recall(wire::Opcode::kMkNod, 3, 2).Decode<wire::RecallReply>().fate,
            wire::RecallFate::kNeverBegun);
}

TEST_F(RecallTest, AFileThatWasCreatedIsOpenAgainHoweverOftenItIsAsked) {
  const wire::CreateRequest create{{}, root_, "new", 9, O_RDWR | O_CREAT | O_EXCL, 0600};
  ASSERT_EQ(client_->Ask(create, {}, 3).status(), kOk);
  RestartServer();
  EXPECT_EQ(client_->Ask(wire::WriteRequest{9, 0, 1}, {.inline_payload = "x"}).status(),
            Errno(EBADF));
  for (int i = 0; i < 2; ++i) {
    const auto reply = Recall(wire::Opcode::kCreate, 3, 1).Decode<wire::RecallReply>();
    EXPECT_EQ(reply.fate, wire::RecallFate::kDone);
    EXPECT_EQ(reply.status, 0u);
  }
  EXPECT_EQ(client_->Ask(wire::WriteRequest{9, 0, 1}, {.inline_payload = "x"}).status(), kOk);
  EXPECT_EQ(store_->Get("new"), "x");
}

TEST_F(RecallTest, AFileThatWasCreatedAndIsGoneIsStale) {
  const wire::CreateRequest create{{}, root_, "new", 9, O_RDWR | O_CREAT | O_EXCL, 0600};
  ASSERT_EQ(client_->Ask(create, {}, 3).status(), kOk);
  RestartServer();
  ASSERT_EQ(client_->Ask(wire::UnlinkRequest{{}, root_, "new"}, {}, 3).status(), kOk);
  EXPECT_EQ(Recall(wire::Opcode::kCreate, 3, 1).Decode<wire::RecallReply>().status,
            static_cast<uint32_t>(ESTALE));
}

TEST_F(RecallTest, AFileThatWasCreatedIsNotOpenForWritingWhereTheExportIsReadOnlyNow) {
  const wire::CreateRequest create{{}, root_, "new", 9, O_RDWR | O_CREAT | O_EXCL, 0600};
  ASSERT_EQ(client_->Ask(create, {}, 3).status(), kOk);
  exports_.read_only = true;
  RestartServer();
  EXPECT_EQ(Recall(wire::Opcode::kCreate, 3, 1).Decode<wire::RecallReply>().status,
            static_cast<uint32_t>(EROFS));
  EXPECT_EQ(client_->Ask(wire::WriteRequest{9, 0, 1}, {.inline_payload = "x"}).status(),
            Errno(EBADF));
}

TEST_F(RecallTest, AnAppendIsRecalledAndAnotherWriteIsNot) {
  store_->Put("f", "content");
  const wire::FileHandle file = client_->Lookup(root_, "f");
  ASSERT_EQ(client_->Open(file, 6, O_WRONLY | O_APPEND), kOk);
  ASSERT_EQ(client_->Open(file, 7, O_WRONLY), kOk);
  ASSERT_EQ(client_->Ask(wire::WriteRequest{6, 0, 2}, {.inline_payload = "++"}, 3).status(), kOk);
  ASSERT_EQ(client_->Ask(wire::WriteRequest{7, 0, 2}, {.inline_payload = "--"}, 4).status(), kOk);
  RestartServer();
  EXPECT_EQ(Recall(wire::Opcode::kWrite, 3, 1).Decode<wire::RecallReply>().fate,
            wire::RecallFate::kDone);
  EXPECT_EQ(Recall(wire::Opcode::kWrite, 4, 1).Decode<wire::RecallReply>().fate,
            wire::RecallFate::kNeverBegun);
}

TEST_F(RecallTest, OfASessionThatEndedInThisProcessTheSameIsKnown) {
  ASSERT_EQ(client_->Ask(MakeFile("new"), {}, 3).status(), kOk);
  session_[0] = client_->session[0];
  session_[1] = client_->session[1];
  ASSERT_EQ(client_->Ask(wire::EndRequest{}).status(), kOk);
  client_.reset();
  client_ = Connect();
  client_->Enter();
  // Its end may come a moment later.
  const Nanoseconds deadline = clock_.Now() + 20 * kSecond;
  auto answer = Recall(wire::Opcode::kMkNod, 3, 1);
  while (!answer.status().ok() && clock_.Now() < deadline)
    answer = Recall(wire::Opcode::kMkNod, 3, 1);
  ASSERT_EQ(answer.status(), kOk);
  EXPECT_EQ(answer.Decode<wire::RecallReply>().fate, wire::RecallFate::kDone);
}

TEST_F(RecallTest, OfASessionThatNobodyKnowsNothingIsSaid) {
  session_[0] = 12345;
  EXPECT_EQ(Recall(wire::Opcode::kMkNod, 3, 1).status(), Errno(ESTALE));
}

TEST_F(RecallTest, InAnotherSlotThanTheSetUpsItBreaksTheProtocol) {
  const wire::RecallRequest request{{{1, 2}, 3, 1, static_cast<uint32_t>(wire::Opcode::kMkNod), 0}};
  client_->Send(request, 0);
  client_->AwaitClosed();
}

}  // namespace
}  // namespace rdmafs::server
