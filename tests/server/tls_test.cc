// Who must come through TLS, and what becomes of who does not.
#include "absl/time/clock.h"
#include "server/key_ring.h"
#include "tests/server/key_file.h"
#include "tests/server/server_fixture.h"
#include "tests/transport/tcp/tcp_pair.h"
#include "tests/transport/tls/tls_fixture.h"

namespace rdmafs::server {
namespace {

class ServerTlsTest : public ServerFixture {
 protected:
  ServerTlsTest() : ServerTlsTest(TlsWithKey()) {}
  explicit ServerTlsTest(const TlsPair& tls)
      : ServerFixture(Always(tls.server)),
        tls_transport_({arena_, messages_, clock_}, Always(tls.client)) {}

  static Errno Join(RawClient& client, const RawClient& first, uint16_t channel) {
    return client.Hello(first.session[0], first.session[1], channel).status();
  }

  TcpTransport tls_transport_;
};

TEST_F(ServerTlsTest, TakesBothKindsWhereTlsIsAccepted) {
  auto with = Connect(tls_transport_), without = Connect();
  EXPECT_EQ(with->Hello().status(), kOk);
  EXPECT_EQ(without->Hello().status(), kOk);
  EXPECT_EQ(with->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_EQ(Breaches(), 0u);
}

TEST_F(ServerTlsTest, ASessionThatWasBegunWithTlsIsNotJoinedInClear) {
  auto first = Connect(tls_transport_);
  ASSERT_EQ(first->Hello().status(), kOk);
  auto second = Connect(tls_transport_), thief = Connect();
  EXPECT_EQ(Join(*second, *first, 1), kOk);
  EXPECT_EQ(Join(*thief, *first, 2), Errno(EPROTOTYPE));
  EXPECT_EQ(Breaches(), 1u);
}

TEST_F(ServerTlsTest, AClientWithAnotherSecretIsALineInTheLog) {
  TcpTransport wrong({arena_, messages_, clock_},
                     Always(*TlsContext::ForClient({.key = [] { return TestKey("compute", 8); }})));
  auto client = Connect(wrong);
  client->AwaitClosed();
  EXPECT_NE(client->close_reason.find("refused the key 'compute'"), std::string::npos)
      << client->close_reason;
  // It hears of the end itself.
  while (server_->connection_count() != 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(Breaches(), 1u);
}

// --- Handshakes of TLS have their places among the others ---

class ServerTlsPlacesTest : public ServerTlsTest {
 protected:
  ServerTlsPlacesTest() {
    exports_.security = {.sys = true, .psk = true};
    file_.Write(KeyFile::Line("one", 1));
    CHECK(ring_.Load().ok());
    options_.keys = &ring_;
  }

  // Clients that begin TLS, and say no more.
  std::vector<UniqueFd> HalfOpen(size_t count) {
    std::vector<UniqueFd> clients;
    for (size_t i = 0; i < count; ++i) {
      clients.push_back(ConnectRaw(listener_->port()));
      SendAll(clients.back(), std::string("\x16\x03\x01\x02\0\x01", 6));
    }
    return clients;
  }
  void AwaitPlaces(size_t count) {
    while (server_->context().handshakes->count() != count) absl::SleepFor(absl::Milliseconds(1));
  }

  KeyFile file_;
  KeyRing ring_{file_.path()};
};

TEST_F(ServerTlsPlacesTest, OneMoreThanAHostMayHaveIsClosedAtOnceAndTheOthersAreNot) {
  auto there = Connect(tls_transport_);
  ASSERT_EQ(there->Hello().status(), kOk);
  AwaitPlaces(0);
  std::vector<UniqueFd> clients = HalfOpen(kMaxHandshakesPerHost);
  AwaitPlaces(kMaxHandshakesPerHost);
  std::vector<UniqueFd> more = HalfOpen(1);
  char byte;
  EXPECT_LE(recv(more.front().get(), &byte, 1, 0), 0);  // blocks until then
  EXPECT_EQ(Breaches(), 1u);
  for (const UniqueFd& client : clients) EXPECT_EQ(recv(client.get(), &byte, 1, MSG_DONTWAIT), -1);
  auto refused = Connect(tls_transport_);
  refused->AwaitClosed();
  EXPECT_NE(refused->close_reason.find("too many handshakes"), std::string::npos)
      << refused->close_reason;
  // Neither who has come through nor who comes in clear needs a place.
  EXPECT_EQ(there->Ask(wire::PingRequest{}).status(), kOk);
  EXPECT_EQ(Connect()->Hello().status(), kOk);

  clients.clear();
  AwaitPlaces(0);
  EXPECT_EQ(Connect(tls_transport_)->Hello().status(), kOk);
}

TEST_F(ServerTlsPlacesTest, AClientThatDoesNotComeThroughKeepsItsPlaceForAWhile) {
  std::vector<UniqueFd> clients = HalfOpen(1);
  AwaitPlaces(1);
  const Nanoseconds begun = clock_.Now();
  clients.clear();
  AwaitPlaces(0);
  EXPECT_GE(clock_.Now() - begun, kRefusalDelay);
}

TEST_F(ServerTlsPlacesTest, AChallengeInsideGoesOnWithThePlace) {
  std::vector<UniqueFd> clients = HalfOpen(kMaxHandshakesPerHost - 1);
  AwaitPlaces(kMaxHandshakesPerHost - 1);
  auto client = Connect(tls_transport_);
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  auth::ClientHandshake handshake(hello, KeyFile::MakeKey("one", 1), std::nullopt,
                                  auth::SystemRandom);
  EXPECT_EQ(client->Ask(handshake.challenge(), {}, wire::kSetUpSlot).status(), kOk);
  EXPECT_EQ(server_->context().handshakes->count(), kMaxHandshakesPerHost);
  EXPECT_EQ(Breaches(), 0u);
}

class ServerThatRequiresTlsTest : public ServerTlsTest {
 protected:
  ServerThatRequiresTlsTest() { options_.tls_required = true; }
};

TEST_F(ServerThatRequiresTlsTest, TellsWhoComesInClearAndLetsOthersIn) {
  auto with = Connect(tls_transport_), without = Connect();
  EXPECT_EQ(with->Hello().status(), kOk);
  EXPECT_EQ(without->Hello().status(), Errno(EPROTOTYPE));
  EXPECT_EQ(Breaches(), 1u);
}

}  // namespace
}  // namespace rdmafs::server
