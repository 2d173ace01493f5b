// Who must come through TLS, and what becomes of who does not.
#include "absl/time/clock.h"
#include "tests/server/server_fixture.h"
#include "tests/transport/tls/tls_fixture.h"

namespace rdmafs::server {
namespace {

class ServerTlsTest : public ServerFixture {
 protected:
  ServerTlsTest() : ServerTlsTest(TlsWithKey()) {}
  explicit ServerTlsTest(const TlsPair& tls)
      : ServerFixture(tls.server), tls_transport_({arena_, messages_, clock_}, tls.client) {}

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
                     *TlsContext::ForClient({.key = [] { return TestKey("compute", 8); }}));
  auto client = Connect(wrong);
  client->AwaitClosed();
  EXPECT_NE(client->close_reason.find("refused the key 'compute'"), std::string::npos) << client->close_reason;
  while (server_->connection_count() != 0) absl::SleepFor(absl::Milliseconds(1));  // it hears of the end itself
  EXPECT_EQ(Breaches(), 1u);
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
