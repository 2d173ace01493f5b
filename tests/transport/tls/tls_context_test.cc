// TlsContext: files that cannot be used are said so; a key's secret for TLS is another one.
#include "transport/tls/tls_context.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/transport/tls/tls_fixture.h"
#include "transport/tls/tls_keys.h"

namespace rdmafs {
namespace {

using testing::HasSubstr;

TEST(TlsContext, APrivateKeyThatOthersMayReadIsRefused) {
  TestAuthority authority;
  authority.Issue("server", "IP:127.0.0.1");
  const TlsContext::ServerOptions options{.certificate_file = authority.certificate_file("server"),
                                          .private_key_file = authority.private_key_file("server")};
  EXPECT_TRUE(TlsContext::ForServer(options).ok());
  ASSERT_EQ(chmod(options.private_key_file.c_str(), 0640), 0);
  EXPECT_THAT(TlsContext::ForServer(options).status().message(), HasSubstr("0600"));
}

TEST(TlsContext, FilesThatAreNotWhatTheyShouldBeAreNamed) {
  TestAuthority authority;
  authority.Issue("one", "IP:127.0.0.1");
  authority.Issue("other", "IP:127.0.0.1");
  const auto with = [&](const std::string& certificate, const std::string& key,
                        const std::string& ca) {
    return std::string(
        TlsContext::ForServer(
            {.certificate_file = certificate, .private_key_file = key, .ca_file = ca})
            .status()
            .message());
  };
  const std::string certificate = authority.certificate_file("one"),
                    key = authority.private_key_file("one");
  EXPECT_THAT(with(certificate, authority.private_key_file("other"), ""),
              HasSubstr("not the private key of"));
  EXPECT_THAT(with("/nowhere", key, ""), HasSubstr("/nowhere"));
  EXPECT_THAT(with(certificate, "/nowhere", ""), HasSubstr("/nowhere"));
  EXPECT_THAT(with(certificate, key, "/nowhere"), HasSubstr("/nowhere"));
  EXPECT_THAT(with(key, key, ""), HasSubstr("no certificate"));
  EXPECT_THAT(std::string(TlsContext::ForClient({.ca_file = key}).status().message()),
              HasSubstr(key));
}

TEST(TlsContext, AKeyThatCannotBeReadFailsTheConnectionThatWantsIt) {
  auto client = TlsContext::ForClient(
      {.key = []() -> absl::StatusOr<auth::Key> { return absl::NotFoundError("no such key"); }});
  ASSERT_TRUE(client.ok());
  EXPECT_EQ((*client)->NewSession("host").status().message(), "no such key");
}

TEST(TlsKeys, TheSecretForTlsIsAnother) {
  const auth::Secret secret = TestKey().secret;
  EXPECT_NE(TlsSecretOf(secret).bytes(), secret.bytes());
  EXPECT_NE(TlsSecretOf(secret).bytes(), TlsSecretOf(TestKey("compute", 8).secret).bytes());
}

}  // namespace
}  // namespace rdmafs
