// Certificates that others take the place of.
#include "transport/tls/tls_files.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/transport/tls/tls_fixture.h"

namespace rdmafs {
namespace {

using testing::HasSubstr;

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() { authority_.Issue("server", "IP:127.0.0.1"); }

  void Spoil(const std::string& file) { std::ofstream(file, std::ios::trunc) << "not PEM"; }

  TestAuthority authority_;
  const TlsContext::ServerOptions options_{
      .certificate_file = authority_.certificate_file("server"),
      .private_key_file = authority_.private_key_file("server")};
  TlsFiles files_{{options_.certificate_file, options_.private_key_file, options_.ca_file},
                  [this] { return TlsContext::ForServer(options_); }};
};

TEST_F(TlsFilesTest, ANewCertificateMakesAnotherContextAndTheOldOneStaysWithWhoHasIt) {
  ASSERT_TRUE(files_.Load().ok());
  const std::shared_ptr<const TlsContext> before = files_.context();
  EXPECT_EQ(files_.context(), before);
  authority_.Issue("server", "IP:127.0.0.1");
  ASSERT_TRUE(files_.Load().ok());
  EXPECT_NE(files_.context(), before);
  EXPECT_TRUE(before->NewSession("").ok());
}

TEST_F(TlsFilesTest, AFaultChangesNothing) {
  ASSERT_TRUE(files_.Load().ok());
  const std::shared_ptr<const TlsContext> before = files_.context();
  Spoil(options_.certificate_file);
  EXPECT_THAT(std::string(files_.Load().message()), HasSubstr(options_.certificate_file));
  EXPECT_EQ(files_.context(), before);
  std::filesystem::remove(options_.certificate_file);
  EXPECT_FALSE(files_.Load().ok());
  EXPECT_EQ(files_.context(), before);
}

TEST_F(TlsFilesTest, ACertificateWithoutItsPrivateKeyIsAFault) {
  ASSERT_TRUE(files_.Load().ok());
  authority_.Issue("other", "IP:127.0.0.1");
  std::filesystem::copy_file(authority_.certificate_file("other"), options_.certificate_file,
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(std::string(files_.Load().message()), HasSubstr("not the private key of"));
}

TEST_F(TlsFilesTest, FilesThatAreTheSameAreNotReadAgainAndAFaultIsToldOfOnce) {
  ASSERT_TRUE(files_.Load().ok());
  EXPECT_FALSE(files_.LoadIfChanged());
  Spoil(options_.private_key_file);
  std::optional<absl::Status> loaded = files_.LoadIfChanged();
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(loaded->ok());
  EXPECT_FALSE(files_.LoadIfChanged());
  authority_.Issue("server", "IP:127.0.0.1");
  loaded = files_.LoadIfChanged();
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(loaded->ok());
}

TEST_F(TlsFilesTest, WithKeysAloneThereAreNone) {
  EXPECT_TRUE(files_.has_files());
  EXPECT_FALSE(TlsFiles({"", ""}, [] { return TlsWithKey().server; }).has_files());
}

}  // namespace
}  // namespace rdmafs
