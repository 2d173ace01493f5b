// TlsStream: two of them over a pair of sockets, and raw sockets that are no TLS.
#include "transport/tcp/tls_stream.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <functional>
#include <random>
#include <thread>

#include "tests/transport/tcp/tcp_pair.h"
#include "tests/transport/tls/tls_fixture.h"

namespace rdmafs {
namespace {

using Opening = ByteStream::Opening;

std::string RandomText(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

iovec Part(std::string& text) { return {text.data(), text.size()}; }

class TlsStreamTest : public testing::Test {
 protected:
  void Begin(const TlsPair& tls, const std::string& host = "127.0.0.1",
             uint64_t records_per_key = TlsStream::kRecordsPerKey) {
    pair = MakeTcpPair(32 << 10);
    ASSERT_EQ(fcntl(pair.raw.get(), F_SETFL, O_NONBLOCK), 0);
    auto at_client = *tls.client->NewSession(host), at_server = *tls.server->NewSession("");
    CountKeyUpdates(at_client->ssl.get(), key_updates_at_client);
    CountKeyUpdates(at_server->ssl.get(), key_updates_at_server);
    client =
        std::make_unique<TlsStream>(pair.ours.get(), std::move(at_client), pool, records_per_key);
    server =
        std::make_unique<TlsStream>(pair.raw.get(), std::move(at_server), pool, records_per_key);
  }
  // Those that come in.
  static void CountKeyUpdates(SSL* ssl, int& count) {
    SSL_set_msg_callback(ssl, [](int sent, int, int type, const void* message, size_t size, SSL*,
                                 void* counter) {
      const bool update = type == SSL3_RT_HANDSHAKE && size != 0 &&
                          *static_cast<const unsigned char*>(message) == SSL3_MT_KEY_UPDATE;
      if (update && sent == 0) ++*static_cast<int*>(counter);
    });
    SSL_set_msg_callback_arg(ssl, &count);
  }
  void Open() {
    Opening at_client = Opening::kBlocked, at_server = Opening::kBlocked;
    while (at_client == Opening::kBlocked || at_server == Opening::kBlocked) {
      if (at_client == Opening::kBlocked) at_client = client->Open();
      if (at_server == Opening::kBlocked) at_server = server->Open();
      if (at_server == Opening::kBegun) at_server = server->Open();
      // One of them has failed, and the other would wait for ever.
      if (!AwaitEither() && (at_client == Opening::kFailed || at_server == Opening::kFailed)) break;
    }
    opened_client = at_client;
    opened_server = at_server;
  }
  void BeginAndOpen(const TlsPair& tls) {
    Begin(tls);
    Open();
    ASSERT_EQ(opened_client, Opening::kOpen) << client->failure();
    ASSERT_EQ(opened_server, Opening::kOpen) << server->failure();
  }
  // False when nothing comes to either end for a while.
  bool AwaitEither() {
    pollfd ends[] = {{pair.ours.get(), POLLIN, 0}, {pair.raw.get(), POLLIN, 0}};
    return poll(ends, 2, 200) > 0;
  }
  // Reads once there is something.
  ssize_t Await(ByteStream& stream, const UniqueFd& fd, const iovec& into) {
    pollfd entry{fd.get(), POLLIN, 0};
    EXPECT_EQ(poll(&entry, 1, 20'000), 1);
    bool drained = false;
    return stream.Read(&into, 1, drained);
  }
  // Writes the parts again and again, as a SendQueue does, while the other end reads in pieces of
  // `piece`.
  std::string Carry(ByteStream& from, ByteStream& to, std::vector<iovec> parts, size_t piece) {
    size_t size = 0;
    for (const iovec& part : parts) size += part.iov_len;
    std::string came;
    int idle = 0;
    while (came.size() < size) {
      const size_t before = came.size();
      const ssize_t sent = from.Write(parts.data(), static_cast<int>(parts.size()));
      EXPECT_TRUE(sent >= 0 || errno == EAGAIN) << errno << " " << from.failure();
      for (size_t left = sent > 0 ? static_cast<size_t>(sent) : 0; left != 0;) {
        const size_t taken = std::min(left, parts.front().iov_len);
        parts.front() = {static_cast<char*>(parts.front().iov_base) + taken,
                         parts.front().iov_len - taken};
        if (parts.front().iov_len == 0) parts.erase(parts.begin());
        left -= taken;
      }
      bool drained = false;
      while (!drained) {
        std::string one(piece, '\0'), two(7, '\0');
        const iovec into[] = {Part(one), Part(two)};
        const ssize_t got = to.Read(into, 2, drained);
        if (got <= 0) {
          EXPECT_TRUE(got < 0 && errno == EAGAIN) << errno << " " << to.failure();
          break;
        }
        came += (one + two).substr(0, static_cast<size_t>(got));
      }
      if (came.size() == before && !AwaitEither() && ++idle == 100) break;
    }
    return came;
  }

  std::shared_ptr<StagingPool> pool = std::make_shared<StagingPool>();
  TcpPair pair;
  int key_updates_at_client = 0, key_updates_at_server = 0;
  std::unique_ptr<TlsStream> client, server;
  Opening opened_client = Opening::kBlocked, opened_server = Opening::kBlocked;
};

TEST_F(TlsStreamTest, WhatIsWrittenInAnyPartsIsReadInAnyParts) {
  for (const TlsPair& tls : {TlsWithKey(), TlsWithCertificates()}) {
    ASSERT_NO_FATAL_FAILURE(BeginAndOpen(tls));
    std::string small = RandomText(112, 1), record = RandomText(16384, 2),
                large = RandomText(1'000'003, 3), empty;
    for (size_t piece : {1000u, 16384u, 300'000u}) {
      const std::vector<iovec> parts = {Part(small), Part(empty), Part(large),
                                        Part(small), Part(small), Part(record)};
      const std::string all = small + large + small + small + record;
      EXPECT_TRUE(Carry(*client, *server, parts, piece) == all) << piece;
      EXPECT_TRUE(Carry(*server, *client, parts, piece) == all) << piece;
    }
    EXPECT_FALSE(client->holds_output());
    EXPECT_EQ(pool->used_count(), 0u);
  }
}

TEST_F(TlsStreamTest, BothEndsKnowTheSameBindingAndWhoIsThere) {
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  const ChannelSecurity first = *client->security();
  EXPECT_EQ(first.binding, server->security()->binding);
  EXPECT_EQ(first.protocol, "TLSv1.3");
  EXPECT_EQ(first.cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(server->security()->peer, "key compute");
  EXPECT_TRUE(server->security()->mutual);
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  EXPECT_NE(first.binding, client->security()->binding);
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithCertificates()));
  EXPECT_EQ(server->security()->peer, "certificate CN = client");
  EXPECT_EQ(client->security()->peer, "certificate CN = server");
}

TEST_F(TlsStreamTest, ManyRecordsGoOnUnderAnotherKey) {
  Begin(TlsWithKey(), "", /*records_per_key=*/3);
  Open();
  ASSERT_EQ(opened_client, Opening::kOpen);
  std::string text = RandomText(1 << 20, 4);
  EXPECT_TRUE(Carry(*client, *server, {Part(text)}, 50'000) == text);
  EXPECT_TRUE(Carry(*server, *client, {Part(text)}, 50'000) == text);
  // 64 records each way, and a key for three of them, or for four where one had to wait for the
  // socket.
  EXPECT_GE(key_updates_at_server, 15);
  EXPECT_GE(key_updates_at_client, 15);
}

TEST_F(TlsStreamTest, AFewRecordsGoUnderOneKey) {
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  std::string text = RandomText(1 << 20, 4);
  EXPECT_TRUE(Carry(*client, *server, {Part(text)}, 50'000) == text);
  EXPECT_EQ(key_updates_at_server, 0);
}

TEST_F(TlsStreamTest, ADiscardedStretchIsGoneAndWhatFollowsIsThere) {
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  std::string unwanted = RandomText(20'000, 5), wanted = "wanted";
  const iovec parts[] = {Part(unwanted), Part(wanted)};
  ASSERT_EQ(client->Write(parts, 2), 20'006);
  for (size_t left = 20'000; left != 0;) {
    bool drained = false;
    const ssize_t got = server->Discard(left, drained);
    if (got < 0) {
      ASSERT_EQ(errno, EAGAIN);
      ASSERT_TRUE(AwaitEither());
    }
    left -= static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  std::string came(6, '\0');
  const iovec into = Part(came);
  bool drained = false;
  EXPECT_EQ(server->Read(&into, 1, drained), 6);
  EXPECT_EQ(came, "wanted");
}

TEST_F(TlsStreamTest, TheEndIsAnEndAndAChangedByteAFailure) {
  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  std::string buffer(100, '\0');
  const iovec into = Part(buffer);
  client->End();
  EXPECT_EQ(Await(*server, pair.raw, into), 0);

  ASSERT_NO_FATAL_FAILURE(BeginAndOpen(TlsWithKey()));
  const std::string forged = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
  SendAll(pair.ours, forged);
  EXPECT_EQ(Await(*server, pair.raw, into), -1);
  EXPECT_TRUE(absl::IsPermissionDenied(server->failure())) << server->failure();
  bool drained = false;
  EXPECT_EQ(server->Read(&into, 1, drained), -1);  // and so it stays
}

TEST_F(TlsStreamTest, AClientThatDoesNotBeginTlsIsLeftAsItIs) {
  Begin(TlsWithKey());
  EXPECT_EQ(server->Open(), Opening::kBlocked);
  SendAll(pair.ours, std::string("\x48\0\0\0", 4));
  ASSERT_TRUE(AwaitEither());
  EXPECT_EQ(server->Open(), Opening::kPlain);
  char first[4];
  EXPECT_EQ(recv(pair.raw.get(), first, 4, 0), 4);  // nothing of it is taken
}

TEST_F(TlsStreamTest, AServerSaysThatAClientBeginsBeforeItGivesItAnything) {
  Begin(TlsWithKey());
  EXPECT_EQ(client->Open(), Opening::kBlocked);
  ASSERT_TRUE(AwaitEither());
  EXPECT_EQ(server->Open(), Opening::kBegun);
  char first;
  EXPECT_EQ(recv(pair.ours.get(), &first, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(server->Open(), Opening::kBlocked);
  ASSERT_TRUE(AwaitEither());
  EXPECT_EQ(client->Open(), Opening::kOpen);
}

TEST_F(TlsStreamTest, AServerWithoutTlsIsSaidSo) {
  Begin(TlsWithKey());
  EXPECT_EQ(client->Open(), Opening::kBlocked);
  Reset(pair.raw);
  ASSERT_TRUE(AwaitEither());
  EXPECT_EQ(client->Open(), Opening::kFailed);
  EXPECT_TRUE(absl::IsUnavailable(client->failure()));
  EXPECT_NE(client->failure().message().find("does not speak TLS"), absl::string_view::npos)
      << client->failure();
}

// --- Who is refused ---

class TlsRefusal : public TlsStreamTest {
 protected:
  // What each end says of it.
  void ExpectRefused(const TlsPair& tls, std::string_view at_client, std::string_view at_server,
                     const std::string& host = "127.0.0.1") {
    Begin(tls, host);
    Open();
    // A server hears of the client's last word after it has opened, and the other way round.
    std::string buffer(1, '\0');
    const iovec into = Part(buffer);
    if (opened_client == Opening::kOpen) Await(*client, pair.ours, into);
    if (opened_server == Opening::kOpen) Await(*server, pair.raw, into);
    for (const auto& [stream, said] :
         {std::pair(client.get(), at_client), std::pair(server.get(), at_server)}) {
      EXPECT_TRUE(absl::IsPermissionDenied(stream->failure())) << stream->failure();
      EXPECT_NE(std::string(stream->failure().message()).find(said), std::string::npos)
          << stream->failure();
    }
  }
  static std::shared_ptr<const TlsContext> ClientWith(const auth::Key& key) {
    return *TlsContext::ForClient({.key = [key] { return key; }});
  }
};

TEST_F(TlsRefusal, AnotherSecretAndAnUnknownNameLookAlikeToTheClient) {
  const TlsPair tls = TlsWithKey();
  ExpectRefused({ClientWith(TestKey("compute", 8)), tls.server}, "refused the key 'compute'",
                "the secret is another");
  const std::string one(client->failure().message());
  ExpectRefused({ClientWith(TestKey("stranger", 7)), tls.server}, "refused the key 'stranger'",
                "no key of that name");
  std::string two(client->failure().message());
  two.replace(two.find("stranger"), 8, "compute");
  EXPECT_EQ(one, two);
}

TEST_F(TlsRefusal, AServerWithACertificateInsteadOfTheKeyIsNoSubstitute) {
  ExpectRefused({TlsWithKey().client, TlsWithCertificates().server}, "key 'compute'", "TLS: ");
}

TEST_F(TlsRefusal, ClientsByCertificateFindNoneAtAServerWithKeys) {
  ExpectRefused({TlsWithCertificates().client, TlsWithKey().server}, "ended the TLS handshake",
                "shows no key, and there is no certificate");
}

TEST_F(TlsRefusal, CertificatesOfAnotherAuthorityForAnotherHostOrOfThePast) {
  const TlsPair one = TlsWithCertificates(), other = TlsWithCertificates();
  ExpectRefused({one.client, other.server}, "certificate is not accepted",
                "it ended the handshake");
  ExpectRefused(one, "IP address mismatch", "it ended the handshake", "192.0.2.1");
  ExpectRefused(one, "hostname mismatch", "it ended the handshake", "elsewhere");
  TestAuthority authority;
  authority.Issue("old", "IP:127.0.0.1", /*valid_seconds=*/-60);
  ExpectRefused({*TlsContext::ForClient({.ca_file = authority.ca_file()}),
                 *TlsContext::ForServer({.certificate_file = authority.certificate_file("old"),
                                         .private_key_file = authority.private_key_file("old")})},
                "expired", "it ended the handshake");
}

TEST_F(TlsRefusal, AClientWithoutTheCertificateThatIsAskedFor) {
  TestAuthority authority;
  authority.Issue("server", "IP:127.0.0.1");
  ExpectRefused({*TlsContext::ForClient({.ca_file = authority.ca_file()}),
                 *TlsContext::ForServer({.certificate_file = authority.certificate_file("server"),
                                         .private_key_file = authority.private_key_file("server"),
                                         .ca_file = authority.ca_file()})},
                "want a certificate of this host", "did not return a certificate");
}

}  // namespace
}  // namespace rdmafs
