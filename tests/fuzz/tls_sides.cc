#include "tests/fuzz/tls_sides.h"

#include "tests/transport/tls/tls_fixture.h"
#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr char kHost[] = "127.0.0.1";
constexpr char kHere[] = "IP:127.0.0.1";
constexpr char kOddName[] = "odd\x1b[2J\n, CN = other";  // of a file, too

std::optional<auth::Secret> FindKey(std::string_view name) {
  return name == TestKey().name ? std::optional(TestKey().secret) : std::nullopt;
}

std::shared_ptr<const TlsContext> Server(const TlsContext::ServerOptions& options) {
  auto made = TlsContext::ForServer(options);
  CHECK(made.ok());
  return *made;
}

std::shared_ptr<const TlsContext> ClientWith(const auth::Key& key) {
  return *TlsContext::ForClient({.key = [key] { return key; }});
}

std::shared_ptr<const TlsContext> ClientWith(const TestAuthority& trusted,
                                             const TestAuthority& issuer, const std::string& name) {
  auto made = TlsContext::ForClient(
      {.ca_file = trusted.ca_file(),
       .certificate_file = name.empty() ? "" : issuer.certificate_file(name),
       .private_key_file = name.empty() ? "" : issuer.private_key_file(name)});
  CHECK(made.ok());
  return *made;
}

std::shared_ptr<const TlsContext> ServerWith(const TestAuthority& issuer, const std::string& name) {
  return Server({.certificate_file = issuer.certificate_file(name),
                 .private_key_file = issuer.private_key_file(name)});
}

}  // namespace

TlsSides::TlsSides() {
  TestAuthority authority, foreign;
  for (TestAuthority* one : {&authority, &foreign}) one->Issue("host", kHere);
  authority.Issue(kOddName, kHere);
  const TlsContext::ServerOptions certificate{
      .certificate_file = authority.certificate_file("host"),
      .private_key_file = authority.private_key_file("host")};
  TlsContext::ServerOptions asks = certificate, both = certificate;
  asks.ca_file = both.ca_file = authority.ca_file();
  both.find_key = FindKey;
  ours_[int(OurSide::kServerWithKey)] = Server({.find_key = FindKey});
  ours_[int(OurSide::kServerWithCertificate)] = Server(certificate);
  ours_[int(OurSide::kServerThatAsks)] = Server(asks);
  ours_[int(OurSide::kServerWithBoth)] = Server(both);
  ours_[int(OurSide::kClientWithKey)] = ClientWith(TestKey());
  ours_[int(OurSide::kClientByCertificate)] = ClientWith(authority, authority, "host");

  clients_[int(PeerSide::kKey)] = clients_[int(PeerSide::kAnyName)] = ClientWith(TestKey());
  clients_[int(PeerSide::kWrongSecret)] = ClientWith(TestKey("compute", 8));
  clients_[int(PeerSide::kCertificate)] = ClientWith(authority, authority, "host");
  clients_[int(PeerSide::kOddCertificate)] = ClientWith(authority, authority, kOddName);
  clients_[int(PeerSide::kForeignCertificate)] = ClientWith(authority, foreign, "host");
  clients_[int(PeerSide::kNoCertificate)] = ClientWith(authority, authority, "");

  servers_[int(PeerSide::kKey)] = Server({.find_key = FindKey});
  // Whatever name it is shown, it has a secret for it.
  servers_[int(PeerSide::kWrongSecret)] = servers_[int(PeerSide::kAnyName)] =
      Server({.find_key = [](std::string_view) { return std::optional(TestKey("", 8).secret); }});
  servers_[int(PeerSide::kCertificate)] = ServerWith(authority, "host");
  servers_[int(PeerSide::kOddCertificate)] = ServerWith(authority, kOddName);
  servers_[int(PeerSide::kForeignCertificate)] = ServerWith(foreign, "host");
  servers_[int(PeerSide::kNoCertificate)] = Server({});
}

std::unique_ptr<TlsSession> TlsSides::Ours(OurSide side) const {
  return *ours_[int(side)]->NewSession(IsServer(side) ? "" : kHost);
}

std::unique_ptr<TlsSession> TlsSides::Peers(PeerSide side, bool is_server,
                                            const std::string& name) const {
  if (is_server) return *servers_[int(side)]->NewSession("");
  std::unique_ptr<TlsSession> session = *clients_[int(side)]->NewSession(kHost);
  if (side == PeerSide::kAnyName) session->key->name = name;
  return session;
}

bool TlsSides::MayOpen(OurSide ours, PeerSide peer, const std::string& name) {
  const bool key = peer == PeerSide::kKey ||
                   (IsServer(ours) && peer == PeerSide::kAnyName && name == TestKey().name);
  const bool certificate = peer == PeerSide::kCertificate || peer == PeerSide::kOddCertificate;
  switch (ours) {
    case OurSide::kServerWithKey:
    case OurSide::kClientWithKey: return key;
    case OurSide::kServerThatAsks:
    case OurSide::kClientByCertificate: return certificate;
    case OurSide::kServerWithBoth: return key || certificate;
    // Looks at nobody. Who comes with a key wants to be shown it.
    case OurSide::kServerWithCertificate:
      return certificate || peer >= PeerSide::kForeignCertificate;
  }
  return false;
}

}  // namespace rdmafs
