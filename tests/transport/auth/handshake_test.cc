// The handshake between a client, a server, and whoever stands in between.
#include "transport/auth/handshake.h"

#include <gtest/gtest.h>

#include <functional>
#include <tuple>

namespace rdmafs::auth {
namespace {

Key MakeKey(const std::string& name, uint8_t first) {
  Key key;
  key.name = name;
  key.secret.bytes().fill(first);
  return key;
}

wire::HelloRequest Hello(uint64_t session = 0) {
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion, 3, wire::kMaxPayloadBytes, 7, {session, session}};
  return hello;
}

wire::HelloReply Welcome() {
  wire::HelloReply reply;
  reply.fixed.version = wire::kVersion;
  reply.fixed.session[0] = 5;
  return reply;
}

class Handshake : public testing::Test {
 protected:
  const Key key_ = MakeKey("compute", 1);
  const Secret session_{[] {
    Digest bytes;
    bytes.fill(9);
    return bytes;
  }()};

  ClientHandshake Client(const Key& key) { return {Hello(), key, std::nullopt, SystemRandom}; }
  ServerHandshake Server(const wire::ChallengeRequest& challenge,
                         const std::optional<Secret>& secret) {
    EXPECT_EQ(ServerHandshake::FindFault(challenge), nullptr);
    return {challenge, secret, std::nullopt, SystemRandom};
  }
};

TEST_F(Handshake, ConvincesBothSidesThatHaveTheKeyAndGivesThemOneSecret) {
  ClientHandshake client = Client(key_);
  EXPECT_EQ(ServerHandshake::KeyName(client.challenge()), "compute");
  ServerHandshake server = Server(client.challenge(), key_.secret);
  auto proof = client.Prove(server.reply());
  ASSERT_TRUE(proof.ok());
  ASSERT_TRUE(server.Verify(*proof));
  EXPECT_TRUE(client.Verify(server.Answer(Welcome())));
  EXPECT_EQ(client.session_secret().bytes(), server.session_secret().bytes());
  EXPECT_NE(client.session_secret().bytes(), Digest{});
}

TEST_F(Handshake, InATunnelCountsInThatTunnelOnly) {
  Digest here{}, there{};
  here.fill(1);
  there.fill(2);
  for (const auto& [at_client, at_server, counts] :
       {std::tuple(Binding(here), Binding(here), true),
        std::tuple(Binding(here), Binding(there), false),
        std::tuple(Binding(here), Binding(), false), std::tuple(Binding(), Binding(here), false)}) {
    ClientHandshake client = Client(key_);
    ServerHandshake server(client.challenge(), key_.secret, std::nullopt, SystemRandom, at_server);
    auto proof = client.Prove(server.reply(), at_client);
    ASSERT_TRUE(proof.ok());
    EXPECT_EQ(server.Verify(*proof), counts);
    EXPECT_EQ(client.Verify(server.Answer(Welcome())), counts);
  }
}

TEST_F(Handshake, IsAnotherOneEachTime) {
  ClientHandshake one = Client(key_), two = Client(key_);
  EXPECT_NE(one.challenge().fixed.nonce, two.challenge().fixed.nonce);
  EXPECT_NE(one.challenge().fixed.public_key, two.challenge().fixed.public_key);
}

TEST_F(Handshake, RefusesAWrongKeyOnEitherSide) {
  ClientHandshake client = Client(MakeKey("compute", 2));
  ServerHandshake server = Server(client.challenge(), key_.secret);
  auto proof = client.Prove(server.reply());
  ASSERT_TRUE(proof.ok());
  EXPECT_FALSE(server.Verify(*proof));
  EXPECT_FALSE(client.Verify(server.Answer(Welcome())));
}

TEST_F(Handshake, RefusesANameThatNobodyHasWhateverTheProof) {
  // The secret that a server without one would be taken to have, too.
  ClientHandshake client = Client(MakeKey("nobody", 0));
  ServerHandshake server = Server(client.challenge(), std::nullopt);
  auto proof = client.Prove(server.reply());
  ASSERT_TRUE(proof.ok());
  EXPECT_FALSE(server.Verify(*proof));
}

TEST_F(Handshake, TakesOneProofOnly) {
  ClientHandshake client = Client(key_);
  ServerHandshake server = Server(client.challenge(), key_.secret);
  auto proof = client.Prove(server.reply());
  EXPECT_FALSE(server.Verify(wire::ProveRequest{}));
  EXPECT_FALSE(server.Verify(*proof));
}

TEST_F(Handshake, RefusesWhatWasRecordedFromAnother) {
  ClientHandshake client = Client(key_);
  ServerHandshake before = Server(client.challenge(), key_.secret);
  auto proof = client.Prove(before.reply());
  const wire::ProveReply answer = before.Answer(Welcome());
  // The client's words again, to the server.
  ServerHandshake server = Server(client.challenge(), key_.secret);
  EXPECT_FALSE(server.Verify(*proof));
  // The server's words again, to the client.
  ClientHandshake other = Client(key_);
  ASSERT_TRUE(other.Prove(before.reply()).ok());
  EXPECT_FALSE(other.Verify(answer));
}

TEST_F(Handshake, RefusesAServerThatSaysWhatTheClientSaid) {
  ClientHandshake client = Client(key_);
  ServerHandshake server = Server(client.challenge(), key_.secret);
  wire::ChallengeReply nonce = server.reply();
  nonce.fixed.nonce = client.challenge().fixed.nonce;
  EXPECT_EQ(client.Prove(nonce).error(), Errno(EPROTO));
  wire::ChallengeReply point = server.reply();
  point.fixed.public_key = client.challenge().fixed.public_key;
  EXPECT_EQ(client.Prove(point).error(), Errno(EPROTO));
  // And its own proof is none of the server.
  auto proof = client.Prove(server.reply());
  EXPECT_FALSE(client.Verify({Welcome(), proof->proof}));
}

TEST_F(Handshake, RefusesAPointOfSmallOrder) {
  ClientHandshake client = Client(key_);
  ServerHandshake server = Server(client.challenge(), key_.secret);
  wire::ChallengeReply reply = server.reply();
  reply.fixed.public_key = {};
  EXPECT_EQ(client.Prove(reply).error(), Errno(EPROTO));

  wire::ChallengeRequest challenge = client.challenge();
  challenge.fixed.public_key = {};
  ServerHandshake deceived = Server(challenge, key_.secret);
  auto proof = client.Prove(deceived.reply());
  EXPECT_FALSE(deceived.Verify(*proof));
}

TEST_F(Handshake, RefusesAnotherVersionAndUnknownFlags) {
  ClientHandshake client = Client(key_);
  wire::ChallengeReply reply = Server(client.challenge(), key_.secret).reply();
  reply.fixed.version = wire::kVersion + 1;
  EXPECT_EQ(client.Prove(reply).error(), Errno(EPROTO));
  reply.fixed.version = wire::kVersion;
  reply.fixed.flags = 2;
  EXPECT_EQ(client.Prove(reply).error(), Errno(EPROTO));
}

// Every byte that either side says is part of the proofs: change one on its way, and one of them
// notices.
TEST_F(Handshake, RefusesEveryChangedByte) {
  for (size_t i = 0; i < sizeof(wire::ChallengeRequest::fixed); ++i) {
    ClientHandshake client = Client(key_);
    wire::ChallengeRequest changed = client.challenge();
    reinterpret_cast<uint8_t*>(&changed.fixed)[i] ^= 0x20;
    if (ServerHandshake::FindFault(changed) != nullptr) continue;
    ServerHandshake server(changed, key_.secret, std::nullopt, SystemRandom);
    auto proof = client.Prove(server.reply());
    EXPECT_FALSE(proof.ok() && server.Verify(*proof)) << "byte " << i;
  }
  for (size_t i = 0; i < sizeof(wire::ChallengeReply::fixed); ++i) {
    ClientHandshake client = Client(key_);
    ServerHandshake server = Server(client.challenge(), key_.secret);
    wire::ChallengeReply changed = server.reply();
    reinterpret_cast<uint8_t*>(&changed.fixed)[i] ^= 0x20;
    auto proof = client.Prove(changed);
    EXPECT_FALSE(proof.ok() && server.Verify(*proof)) << "byte " << i;
  }
  for (size_t i = 0; i < sizeof(wire::HelloReply::fixed) + sizeof(wire::ProveReply::proof); ++i) {
    ClientHandshake client = Client(key_);
    ServerHandshake server = Server(client.challenge(), key_.secret);
    ASSERT_TRUE(server.Verify(*client.Prove(server.reply())));
    wire::ProveReply answer = server.Answer(Welcome());
    auto* bytes = i < sizeof answer.hello.fixed
                      ? reinterpret_cast<uint8_t*>(&answer.hello.fixed) + i
                      : answer.proof.data() + (i - sizeof answer.hello.fixed);
    *bytes ^= 0x20;
    EXPECT_FALSE(client.Verify(answer)) << "byte " << i;
  }
}

TEST_F(Handshake, DoesNotVerifyAServerBeforeTheClientHasProved) {
  ClientHandshake client = Client(key_);
  EXPECT_FALSE(client.Verify(wire::ProveReply{}));
}

// --- Sessions ---

TEST_F(Handshake, JoinsWithTheSecretOfTheSession) {
  ClientHandshake client(Hello(5), session_, SystemRandom);
  ASSERT_EQ(ServerHandshake::FindFault(client.challenge()), nullptr);
  ServerHandshake server(client.challenge(), std::nullopt, session_, SystemRandom);
  EXPECT_TRUE(server.joins());
  auto proof = client.Prove(server.reply());
  ASSERT_TRUE(proof.ok());
  ASSERT_TRUE(server.Verify(*proof));
  EXPECT_TRUE(client.Verify(server.Answer(Welcome())));
}

TEST_F(Handshake, DoesNotJoinWithAnotherSecretOrWithoutTheSession) {
  ClientHandshake client(Hello(5), key_.secret, SystemRandom);
  ServerHandshake server(client.challenge(), std::nullopt, session_, SystemRandom);
  EXPECT_FALSE(server.Verify(*client.Prove(server.reply())));
  // Not even with the key whose name it does not say.
  ServerHandshake without(client.challenge(), key_.secret, std::nullopt, SystemRandom);
  EXPECT_EQ(client.Prove(without.reply()).error(), Errno(EPROTO));
  EXPECT_FALSE(without.Verify(wire::ProveRequest{}));
}

TEST_F(Handshake, ComesBackToASessionWithKeyAndSecretTogether) {
  ClientHandshake client(Hello(5), key_, session_, SystemRandom);
  ServerHandshake server(client.challenge(), key_.secret, session_, SystemRandom);
  EXPECT_TRUE(server.knows_session());
  auto proof = client.Prove(server.reply());
  ASSERT_TRUE(proof.ok());
  EXPECT_TRUE(server.Verify(*proof));
  EXPECT_TRUE(client.Verify(server.Answer(Welcome())));
}

TEST_F(Handshake, DoesNotComeBackToASessionOfAnotherClientWithTheSameKey) {
  ClientHandshake thief(Hello(5), key_, key_.secret, SystemRandom);
  ServerHandshake server(thief.challenge(), key_.secret, session_, SystemRandom);
  EXPECT_FALSE(server.Verify(*thief.Prove(server.reply())));
  // Nor by hiding that the server knows the session.
  ClientHandshake other(Hello(5), key_, std::nullopt, SystemRandom);
  ServerHandshake again(other.challenge(), key_.secret, session_, SystemRandom);
  EXPECT_EQ(other.Prove(again.reply()).error(), Errno(EPROTO));
  wire::ChallengeReply hidden = again.reply();
  hidden.fixed.flags = 0;
  EXPECT_FALSE(again.Verify(*other.Prove(hidden)));
}

TEST_F(Handshake, GivesANewSessionWhereTheServerDoesNotKnowTheOldOne) {
  ClientHandshake client(Hello(5), key_, session_, SystemRandom);
  ServerHandshake server(client.challenge(), key_.secret, std::nullopt, SystemRandom);
  EXPECT_FALSE(server.knows_session());
  EXPECT_TRUE(server.Verify(*client.Prove(server.reply())));
  EXPECT_NE(client.session_secret().bytes(), session_.bytes());
}

// --- Challenges that cannot be ---

TEST(ServerHandshake, FindsWhatIsWrongWithAChallengeInItself) {
  const Key key = MakeKey("k", 1);
  const ClientHandshake named(Hello(), key, std::nullopt, SystemRandom);
  const ClientHandshake joining(Hello(1), key.secret, SystemRandom);
  struct Case {
    const char* fault;
    const ClientHandshake& from;
    std::function<void(wire::ChallengeRequest&)> change;
  };
  const Case cases[] = {
      {"unknown mechanism", named, [](auto& c) { c.fixed.mechanism = 0; }},
      {"unknown mechanism", named, [](auto& c) { c.fixed.mechanism = 3; }},
      {"reserved field", named, [](auto& c) { c.fixed.reserved = 1; }},
      {"name of a key", named, [](auto& c) { c.fixed.key_name = {}; }},
      {"name of a key", named, [](auto& c) { c.fixed.key_name.fill('a'); }},
      {"name of a key", named, [](auto& c) { c.fixed.key_name[0] = '\n'; }},
      {"name of a key", named, [](auto& c) { c.fixed.key_name[5] = 'x'; }},
      {"fields of another mechanism", joining, [](auto& c) { c.fixed.key_name[0] = 'x'; }},
      {"fields of another mechanism", joining, [](auto& c) { c.fixed.public_key[31] = 1; }},
      {"no session to join", joining,
       [](auto& c) { c.fixed.session[0] = c.fixed.session[1] = 0; }},
  };
  for (const Case& test : cases) {
    wire::ChallengeRequest challenge = test.from.challenge();
    EXPECT_EQ(ServerHandshake::FindFault(challenge), nullptr);
    test.change(challenge);
    EXPECT_STREQ(ServerHandshake::FindFault(challenge), test.fault);
  }
}

TEST(IsKeyName, TakesWhatIsFitForALogLine) {
  for (const char* name : {"a", "host-1.example.org", "user_2@site", "Z9"}) {
    EXPECT_TRUE(IsKeyName(name)) << name;
  }
  for (const std::string& name : {std::string(), std::string(64, 'a'), std::string("a b"),
                                  std::string("a\0b", 3), std::string("\xc3\xa4")}) {
    EXPECT_FALSE(IsKeyName(name)) << name;
  }
  EXPECT_TRUE(IsKeyName(std::string(63, 'a')));
}

TEST(Fingerprint, IsOfNameAndSecret) {
  EXPECT_EQ(Fingerprint(MakeKey("a", 1)), Fingerprint(MakeKey("a", 1)));
  EXPECT_NE(Fingerprint(MakeKey("a", 1)), Fingerprint(MakeKey("a", 2)));
  EXPECT_NE(Fingerprint(MakeKey("a", 1)), Fingerprint(MakeKey("b", 1)));
  EXPECT_NE(Fingerprint(MakeKey("a", 1)), MakeKey("a", 1).secret.bytes());
}

}  // namespace
}  // namespace rdmafs::auth
