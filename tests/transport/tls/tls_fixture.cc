#include "tests/transport/tls/tls_fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  CHECK(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

Owned<X509> Unsigned(EVP_PKEY* key, const std::string& name, long serial, int valid_seconds) {
  Owned<X509> certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -86400);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), valid_seconds);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  CHECK(X509_set_pubkey(certificate.get(), key) == 1);
  return certificate;
}

template <typename Write>
void WriteFile(const std::string& path, mode_t mode, Write write) {
  FILE* file = std::fopen(path.c_str(), "w");
  CHECK(file != nullptr && write(file) == 1 && std::fclose(file) == 0);
  CHECK(chmod(path.c_str(), mode) == 0);
}

}  // namespace

struct TestAuthority::Keys {
  Owned<EVP_PKEY> key{EVP_EC_gen("P-256")};
  Owned<X509> certificate;
  long serial = 1;
};

TestAuthority::TestAuthority() : keys_(std::make_unique<Keys>()) {
  std::string name = (std::filesystem::temp_directory_path() / "rdmafs-ca-XXXXXX").string();
  CHECK(mkdtemp(name.data()) != nullptr);
  directory_ = name;
  keys_->certificate = Unsigned(keys_->key.get(), "authority " + name, keys_->serial, 86400);
  X509* own = keys_->certificate.get();
  X509_set_issuer_name(own, X509_get_subject_name(own));
  AddExtension(own, own, NID_basic_constraints, "critical,CA:TRUE");
  CHECK(X509_sign(own, keys_->key.get(), EVP_sha256()) != 0);
  WriteFile(ca_file(), 0644, [&](FILE* file) { return PEM_write_X509(file, own); });
}

TestAuthority::~TestAuthority() { std::filesystem::remove_all(directory_); }

void TestAuthority::Issue(const std::string& name, const std::string& names, int valid_seconds) {
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Owned<X509> certificate = Unsigned(key.get(), name, ++keys_->serial, valid_seconds);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(keys_->certificate.get()));
  AddExtension(certificate.get(), keys_->certificate.get(), NID_subject_alt_name, names);
  CHECK(X509_sign(certificate.get(), keys_->key.get(), EVP_sha256()) != 0);
  WriteFile(certificate_file(name), 0644,
            [&](FILE* file) { return PEM_write_X509(file, certificate.get()); });
  WriteFile(private_key_file(name), 0600, [&](FILE* file) {
    return PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

auth::Key TestKey(const std::string& name, uint8_t byte) {
  auth::Digest bytes;
  bytes.fill(byte);
  return {name, auth::Secret(bytes), ""};
}

TlsPair TlsWithKey() {
  TlsPair pair;
  pair.client = *TlsContext::ForClient({.key = [] { return TestKey(); }});
  pair.server = *TlsContext::ForServer({.find_key = [](std::string_view name) {
    return name == TestKey().name ? std::optional(TestKey().secret) : std::nullopt;
  }});
  return pair;
}

TlsPair TlsWithCertificates() {
  TestAuthority authority;
  authority.Issue("server", "DNS:localhost,IP:127.0.0.1,IP:::1");
  authority.Issue("client", "DNS:client");
  TlsPair pair;
  pair.client = *TlsContext::ForClient({.ca_file = authority.ca_file(),
                                        .certificate_file = authority.certificate_file("client"),
                                        .private_key_file = authority.private_key_file("client")});
  pair.server = *TlsContext::ForServer({.certificate_file = authority.certificate_file("server"),
                                        .private_key_file = authority.private_key_file("server"),
                                        .ca_file = authority.ca_file()});
  return pair;
}

}  // namespace rdmafs
