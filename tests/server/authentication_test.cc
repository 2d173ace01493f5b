// Who gets in with a key, and what a server says to everyone else.
#include <gmock/gmock.h>

#include "server/key_ring.h"
#include "tests/server/key_file.h"
#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

constexpr uint16_t kSlot = wire::kSetUpSlot;

class AuthenticationTest : public ServerFixture {
 protected:
  AuthenticationTest() {
    exports_.security = {.sys = false, .psk = true};
    file_.Write(KeyFile::Line("one", 1) + KeyFile::Line("two", 2));
    CHECK(ring_.Load().ok());
    options_.keys = &ring_;
  }

  struct Entered {
    std::unique_ptr<RawClient> client;
    auth::Secret secret;  // of the session
  };

  static wire::HelloRequest HelloFor(const RawClient* session, uint16_t channel,
                                     uint32_t epoch = 0) {
    wire::HelloRequest hello;
    hello.fixed = {wire::kMagic, wire::kVersion, channel, wire::kMaxPayloadBytes, epoch, {0, 0}};
    if (session != nullptr) {
      hello.fixed.session[0] = session->session[0];
      hello.fixed.session[1] = session->session[1];
    }
    return hello;
  }

  // Both steps; the status of the one that was refused.
  static Errno Handshake(RawClient& client, auth::ClientHandshake& handshake) {
    RawClient::Answer challenged = client.Ask(handshake.challenge(), {}, kSlot);
    if (!challenged.status().ok()) return challenged.status();
    auto proof = handshake.Prove(challenged.Decode<wire::ChallengeReply>());
    if (!proof.ok()) return proof.error();
    RawClient::Answer proved = client.Ask(*proof, {}, kSlot);
    if (!proved.status().ok()) return proved.status();
    const auto reply = proved.Decode<wire::ProveReply>();
    EXPECT_TRUE(handshake.Verify(reply));
    client.session[0] = reply.hello.fixed.session[0];
    client.session[1] = reply.hello.fixed.session[1];
    return kOk;
  }

  Entered Enter(const auth::Key& key = KeyFile::MakeKey("one", 1)) {
    Entered entered{Connect(), {}};
    auth::ClientHandshake handshake(HelloFor(nullptr, 0), key, std::nullopt, auth::SystemRandom);
    EXPECT_EQ(Handshake(*entered.client, handshake), kOk);
    entered.secret = handshake.session_secret();
    EXPECT_EQ(
        entered.client->Ask(wire::AttachRequest{}, {.inline_payload = "/export"}, kSlot).status(),
        kOk);
    return entered;
  }

  KeyFile file_;
  KeyRing ring_{file_.path()};
};

TEST_F(AuthenticationTest, AClientWithAKeyAttaches) {
  Entered entered = Enter();
  EXPECT_EQ(entered.client->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_EQ(Breaches(), 0u);
  EXPECT_EQ(server_->context().handshakes->count(), 0u);
}

TEST_F(AuthenticationTest, AHelloWithoutAKeyIsRefusedOnceAndForGood) {
  auto client = Connect();
  const Nanoseconds begun = clock_.Now();
  EXPECT_EQ(client->Hello().status(), Errno(ENOKEY));
  EXPECT_GE(clock_.Now() - begun, kRefusalDelay);
  EXPECT_EQ(Breaches(), 1u);
  client->Send(wire::PingRequest{}, 0);
  client->AwaitClosed();
  EXPECT_FALSE(client->Answered(0));
  EXPECT_EQ(Breaches(), 1u);  // one line
}

TEST_F(AuthenticationTest, AWrongSecretAndAnUnknownNameAreRefusedAlike) {
  for (const auth::Key& key : {KeyFile::MakeKey("one", 9), KeyFile::MakeKey("nobody", 1),
                               KeyFile::MakeKey("nobody", 0), KeyFile::MakeKey("two", 1)}) {
    auto client = Connect();
    auth::ClientHandshake handshake(HelloFor(nullptr, 0), key, std::nullopt, auth::SystemRandom);
    RawClient::Answer challenged = client->Ask(handshake.challenge(), {}, kSlot);
    ASSERT_EQ(challenged.status(), kOk);
    const Nanoseconds begun = clock_.Now();
    EXPECT_EQ(client->Ask(*handshake.Prove(challenged.Decode<wire::ChallengeReply>()), {}, kSlot)
                  .status(),
              Errno(EKEYREJECTED));
    EXPECT_GE(clock_.Now() - begun, kRefusalDelay);
    client->AwaitClosed();
  }
  EXPECT_EQ(Breaches(), 4u);
  EXPECT_EQ(server_->context().handshakes->count(), 0u);
  EXPECT_EQ(server_->context().sessions.count(), 0u);
}

TEST_F(AuthenticationTest, AProofThatWasRecordedIsRefused) {
  auto client = Connect();
  auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  RawClient::Answer challenged = client->Ask(handshake.challenge(), {}, kSlot);
  const wire::ProveRequest proof = *handshake.Prove(challenged.Decode<wire::ChallengeReply>());
  ASSERT_EQ(client->Ask(proof, {}, kSlot).status(), kOk);

  auto replaying = Connect();
  ASSERT_EQ(replaying->Ask(handshake.challenge(), {}, kSlot).status(), kOk);
  EXPECT_EQ(replaying->Ask(proof, {}, kSlot).status(), Errno(EKEYREJECTED));
}

TEST_F(AuthenticationTest, NothingElseIsHeardBeforeTheProof) {
  for (const auto opcode : {wire::Opcode::kPing, wire::Opcode::kAttach, wire::Opcode::kHello,
                            wire::Opcode::kChallenge}) {
    auto client = Connect();
    auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                    auth::SystemRandom);
    ASSERT_EQ(client->Ask(handshake.challenge(), {}, kSlot).status(), kOk);
    client->SendBody(opcode, {}, kSlot);
    client->AwaitClosed();
  }
  auto client = Connect();
  client->Send(wire::ProveRequest{}, kSlot);
  client->AwaitClosed();
  EXPECT_EQ(Breaches(), 5u);
}

TEST_F(AuthenticationTest, AChallengeThatIsTooShortTooLongOrImpossibleIsTheEnd) {
  auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  std::byte space[wire::kMaxBodyBytes]{};
  const size_t size = wire::Encode(handshake.challenge(), absl::MakeSpan(space)).size();
  for (size_t bytes : {size_t{0}, size - 1, size + 1, size_t{wire::kMaxBodyBytes}}) {
    auto client = Connect();
    client->SendBody(wire::Opcode::kChallenge, absl::MakeSpan(space).first(bytes), kSlot);
    client->AwaitClosed();
    EXPECT_FALSE(client->Answered(kSlot)) << bytes;
  }
  for (size_t bytes : {size_t{0}, size_t{31}, size_t{33}}) {
    auto client = Connect();
    ASSERT_EQ(client->Ask(handshake.challenge(), {}, kSlot).status(), kOk);
    client->SendBody(wire::Opcode::kProve, absl::MakeSpan(space).first(bytes), kSlot);
    client->AwaitClosed();
  }
  auto client = Connect();
  wire::ChallengeRequest impossible = handshake.challenge();
  impossible.fixed.mechanism = 7;
  client->Send(impossible, kSlot);
  client->AwaitClosed();
  EXPECT_EQ(Breaches(), 8u);
}

TEST_F(AuthenticationTest, WhoDoesNotProveInTimeIsClosed) {
  auto client = Connect();
  auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  const Nanoseconds begun = clock_.Now();
  ASSERT_EQ(client->Ask(handshake.challenge(), {}, kSlot).status(), kOk);
  EXPECT_EQ(server_->context().handshakes->count(), 1u);
  client->AwaitClosed();
  EXPECT_GE(clock_.Now() - begun, kHelloTimeout - kSecond);
  EXPECT_LT(clock_.Now() - begun, 2 * kHelloTimeout);
}

TEST_F(AuthenticationTest, SoManyMayProveAtOnce) {
  std::vector<std::unique_ptr<RawClient>> proving;
  auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  for (size_t i = 0; i < kMaxHandshakesPerHost; ++i) {
    proving.push_back(Connect());
    ASSERT_EQ(proving.back()->Ask(handshake.challenge(), {}, kSlot).status(), kOk);
  }
  EXPECT_EQ(Connect()->Ask(handshake.challenge(), {}, kSlot).status(), Errno(EAGAIN));
  proving.clear();
  // Its end is the server's to see.
  while (server_->context().handshakes->count() != 0) std::this_thread::yield();
  Enter();
}

// --- Further connections, and coming back ---

TEST_F(AuthenticationTest, AnotherConnectionJoinsWithTheSecretOfTheSession) {
  Entered first = Enter();
  auto second = Connect();
  auth::ClientHandshake handshake(HelloFor(first.client.get(), 1), first.secret,
                                  auth::SystemRandom);
  EXPECT_EQ(Handshake(*second, handshake), kOk);
  EXPECT_EQ(second->session[0], first.client->session[0]);
  EXPECT_EQ(second->Ask(wire::PingRequest{}).status(), kOk);
}

TEST_F(AuthenticationTest, AnotherConnectionDoesNotJoinOtherwise) {
  Entered first = Enter();
  auto guessing = Connect();
  auth::ClientHandshake wrong(HelloFor(first.client.get(), 1), KeyFile::MakeKey("one", 1).secret,
                              auth::SystemRandom);
  EXPECT_EQ(Handshake(*guessing, wrong), Errno(EKEYREJECTED));
  auto without = Connect();
  EXPECT_EQ(without->Hello(first.client->session[0], first.client->session[1], 1).status(),
            Errno(ENOKEY));
  // Another session of the very same key.
  Entered other = Enter();
  auto crossing = Connect();
  auth::ClientHandshake crossed(HelloFor(first.client.get(), 1), other.secret, auth::SystemRandom);
  EXPECT_EQ(Handshake(*crossing, crossed), Errno(EKEYREJECTED));
  auto gone = Connect();
  wire::HelloRequest hello = HelloFor(first.client.get(), 1);
  hello.fixed.session[0] += 100;
  auth::ClientHandshake stale(hello, first.secret, auth::SystemRandom);
  EXPECT_EQ(Handshake(*gone, stale), Errno(ESTALE));
}

TEST_F(AuthenticationTest, AClientComesBackToItsSessionWithKeyAndSecret) {
  store_->Put("f", "content");
  Entered lost = Enter();
  wire::FileHandle root =
      lost.client->Ask(wire::AttachRequest{}, {.inline_payload = "/export"}, kSlot)
          .Decode<wire::EntryReply>()
          .handle;
  ASSERT_EQ(lost.client->Open(lost.client->Lookup(root, "f"), 5, O_RDONLY), kOk);
  auto back = Connect();
  auth::ClientHandshake handshake(HelloFor(lost.client.get(), 0, 1), KeyFile::MakeKey("one", 1),
                                  lost.secret, auth::SystemRandom);
  ASSERT_EQ(Handshake(*back, handshake), kOk);
  EXPECT_EQ(back->session[0], lost.client->session[0]);
  EXPECT_EQ(back->Ask(wire::ReadRequest{5, 0, 100}, {}, 7).inline_payload, "content");
}

TEST_F(AuthenticationTest, ASessionIsNotTakenOverWithTheSameKeyAlone) {
  Entered first = Enter();
  auto thief = Connect();
  auth::ClientHandshake handshake(HelloFor(first.client.get(), 0, 9), KeyFile::MakeKey("one", 1),
                                  KeyFile::MakeKey("one", 1).secret, auth::SystemRandom);
  EXPECT_EQ(Handshake(*thief, handshake), Errno(EKEYREJECTED));
  EXPECT_EQ(first.client->Ask(wire::PingRequest{}).status(), kOk);
}

// --- Keys that change ---

TEST_F(AuthenticationTest, ASessionWhoseKeyIsGoneGoesOnWithAnother) {
  Entered first = Enter();
  file_.Write(KeyFile::Line("two", 2));
  ASSERT_TRUE(ring_.Load().ok());
  server_->ReviewAttachments();
  first.client->AwaitClosed();

  auto old = Connect();
  auth::ClientHandshake refused(HelloFor(first.client.get(), 0, 1), KeyFile::MakeKey("one", 1),
                                first.secret, auth::SystemRandom);
  EXPECT_EQ(Handshake(*old, refused), Errno(EKEYREJECTED));
  auto joining = Connect();
  auth::ClientHandshake joined(HelloFor(first.client.get(), 1, 1), first.secret,
                               auth::SystemRandom);
  EXPECT_EQ(Handshake(*joining, joined), Errno(ESTALE));

  auto back = Connect();
  auth::ClientHandshake handshake(HelloFor(first.client.get(), 0, 2), KeyFile::MakeKey("two", 2),
                                  first.secret, auth::SystemRandom);
  ASSERT_EQ(Handshake(*back, handshake), kOk);
  EXPECT_EQ(back->session[0], first.client->session[0]);
  server_->ReviewAttachments();
  EXPECT_EQ(back->Ask(wire::PingRequest{}, {}, 7).status(), kOk);
}

TEST_F(AuthenticationTest, AKeyThatIsAddedIsTakenAtOnceAndDisturbsNobody) {
  Entered first = Enter();
  file_.Write(KeyFile::Line("one", 1) + KeyFile::Line("three", 3));
  ASSERT_TRUE(ring_.Load().ok());
  server_->ReviewAttachments();
  Enter(KeyFile::MakeKey("three", 3));
  EXPECT_EQ(first.client->Ask(wire::PingRequest{}).status(), kOk);
}

// --- Servers that do not ask for keys ---

class WithoutKeysTest : public AuthenticationTest {
 protected:
  WithoutKeysTest() { exports_.security = {}; }
};

TEST_F(WithoutKeysTest, AKeyIsRefusedWhereNothingAsksForOne) {
  auto client = Connect();
  auth::ClientHandshake handshake(HelloFor(nullptr, 0), KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  EXPECT_EQ(Handshake(*client, handshake), Errno(EOPNOTSUPP));
  client->AwaitClosed();
  EXPECT_EQ(Connect()->Hello().status(), kOk);
}

class EitherTest : public AuthenticationTest {
 protected:
  EitherTest() { exports_.security = {.sys = true, .psk = true}; }
};

TEST_F(EitherTest, SessionsWithAndWithoutAKeyDoNotMix) {
  Entered with = Enter();
  auto without = Connect();
  without->Enter();
  // Without a key into a session with one, and the other way round.
  auto client = Connect();
  EXPECT_EQ(client->Hello(with.client->session[0], with.client->session[1], 1).status(),
            Errno(ENOKEY));
  auto joining = Connect();
  auth::ClientHandshake handshake(HelloFor(without.get(), 1), with.secret, auth::SystemRandom);
  EXPECT_EQ(Handshake(*joining, handshake), Errno(ESTALE));
  auto asking = Connect();
  auth::ClientHandshake full(HelloFor(without.get(), 0, 1), KeyFile::MakeKey("one", 1),
                             std::nullopt, auth::SystemRandom);
  ASSERT_EQ(Handshake(*asking, full), kOk);
  EXPECT_NE(asking->session[0], without->session[0]);
  EXPECT_EQ(without->Ask(wire::PingRequest{}).status(), kOk);
}

}  // namespace
}  // namespace rdmafs::server
