#include "transport/tls/tls_context.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/auth/key_file.h"
#include "transport/base/check.h"
#include "transport/tls/tls_keys.h"

namespace rdmafs {
namespace {

using Context = std::unique_ptr<SSL_CTX, TlsFree>;

// Both with SHA-256. The first where the processor has AES, which it nearly always has.
constexpr char kCipherSuites[] = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
constexpr char kGroups[] = "X25519:P-256";
// Ciphertext of a few records for each recv(2).
constexpr size_t kReadBufferBytes = size_t{64} << 10;

absl::Status FileError(const std::string& file, std::string_view what) {
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  const std::string because = reason == nullptr ? "" : absl::StrCat(" (", reason, ")");
  ERR_clear_error();
  return absl::FailedPreconditionError(absl::StrCat(file, ": ", std::string(what), because));
}

Context NewContext(const SSL_METHOD* method) {
  ERR_clear_error();
  Context context(SSL_CTX_new(method));
  CHECK(context != nullptr);
  CHECK(SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1);
  CHECK(SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) == 1);
  CHECK(SSL_CTX_set_ciphersuites(context.get(), kCipherSuites) == 1);
  CHECK(SSL_CTX_set1_groups_list(context.get(), kGroups) == 1);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                         SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                         SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  // Writes are of what the caller has then; buffers stay only while they hold something.
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_default_read_buffer_len(context.get(), kReadBufferBytes);
  return context;
}

int NoPassword(char*, int, int, void*) { return -1; }  // a daemon has nobody to ask

absl::Status UseCertificate(SSL_CTX* context, const std::string& file,
                            const std::string& key_file) {
  if (SSL_CTX_use_certificate_chain_file(context, file.c_str()) != 1) {
    return FileError(file, "no certificate in PEM can be read from it");
  }
  const absl::StatusOr<auth::SecretText> text = auth::ReadSecretFile(key_file);
  if (!text.ok()) return text.status();
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(
      BIO_new_mem_buf(text->text.data(), static_cast<int>(text->text.size())), &BIO_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(bio.get(), nullptr, &NoPassword, nullptr), &EVP_PKEY_free);
  if (key == nullptr)
    return FileError(key_file, "no private key in PEM, without a password, is in it");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return FileError(key_file, absl::StrCat("not the private key of ", file));
  }
  return absl::OkStatus();
}

absl::Status UseAuthorities(SSL_CTX* context, const std::string& file) {
  if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
    return FileError(file, "no certificates in PEM can be read from it");
  }
  return absl::OkStatus();
}

bool IsAddress(const std::string& host) {
  unsigned char bytes[sizeof(in6_addr)];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::ForServer(
    const ServerOptions& options) {
  Context ssl = NewContext(TLS_server_method());
  if (!options.certificate_file.empty()) {
    absl::Status status =
        UseCertificate(ssl.get(), options.certificate_file, options.private_key_file);
    if (!status.ok()) return status;
  }
  if (!options.ca_file.empty()) {
    if (absl::Status status = UseAuthorities(ssl.get(), options.ca_file); !status.ok())
      return status;
    // Whose certificates are wanted: a client with several can choose.
    SSL_CTX_set_client_CA_list(ssl.get(), SSL_load_client_CA_file(options.ca_file.c_str()));
    SSL_CTX_set_verify(ssl.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    constexpr unsigned char kSessionContext[] = "rdmafs";
    CHECK(SSL_CTX_set_session_id_context(ssl.get(), kSessionContext, sizeof kSessionContext) == 1);
  }
  if (options.find_key) SSL_CTX_set_psk_find_session_callback(ssl.get(), &FindTlsKey);
  std::shared_ptr<TlsContext> context(new TlsContext(std::move(ssl), /*is_server=*/true));
  context->find_key_ = options.find_key;
  return context;
}

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::ForClient(
    const ClientOptions& options) {
  Context ssl = NewContext(TLS_client_method());
  SSL_CTX_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
  if (options.key) {
    SSL_CTX_set_psk_use_session_callback(ssl.get(), &ShowTlsKey);
  } else {
    if (absl::Status status = UseAuthorities(ssl.get(), options.ca_file); !status.ok())
      return status;
  }
  if (!options.certificate_file.empty()) {
    absl::Status status =
        UseCertificate(ssl.get(), options.certificate_file, options.private_key_file);
    if (!status.ok()) return status;
  }
  std::shared_ptr<TlsContext> context(new TlsContext(std::move(ssl), /*is_server=*/false));
  context->get_key_ = options.key;
  return context;
}

absl::StatusOr<std::unique_ptr<TlsSession>> TlsContext::NewSession(const std::string& host) const {
  auto session = std::make_unique<TlsSession>();
  session->is_server = is_server_;
  session->context = shared_from_this();
  session->ssl.reset(SSL_new(context_.get()));
  CHECK(session->ssl != nullptr);
  SSL* ssl = session->ssl.get();
  SSL_set_app_data(ssl, session.get());
  if (is_server_) {
    session->find_key = &find_key_;
    SSL_set_accept_state(ssl);
    return session;
  }
  SSL_set_connect_state(ssl);
  if (get_key_) {
    absl::StatusOr<auth::Key> key = get_key_();
    if (!key.ok()) return key.status();
    session->key = *std::move(key);
    return session;
  }
  if (IsAddress(host)) {
    CHECK(X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) == 1);
  } else {
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(ssl, host.c_str()) != 1 || SSL_set_tlsext_host_name(ssl, host.c_str()) != 1) {
      ERR_clear_error();
      return absl::InvalidArgumentError(
          absl::StrCat("'", host, "' is no name that a certificate can be for"));
    }
  }
  return session;
}

}  // namespace rdmafs
