#include "transport/tls/tls_keys.h"

#include "transport/base/check.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {
namespace {

constexpr unsigned char kAes128GcmSha256[] = {0x13, 0x01};

TlsSession& SessionOf(SSL* ssl) { return *static_cast<TlsSession*>(SSL_get_app_data(ssl)); }

// libssl has an external key come as a session that is resumed.
SSL_SESSION* AsSession(SSL* ssl, const auth::Secret& key) {
  const SSL_CIPHER* cipher = SSL_CIPHER_find(ssl, kAes128GcmSha256);  // it says SHA-256
  SSL_SESSION* session = SSL_SESSION_new();
  CHECK(cipher != nullptr && session != nullptr);
  const auth::Secret secret = TlsSecretOf(key);
  CHECK(SSL_SESSION_set1_master_key(session, secret.bytes().data(), auth::Secret::kBytes) == 1);
  CHECK(SSL_SESSION_set_cipher(session, cipher) == 1);
  CHECK(SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1);
  return session;
}

auth::Secret RandomSecret() {
  auth::Secret secret;
  auth::SystemRandom(
      absl::MakeSpan(reinterpret_cast<std::byte*>(secret.bytes().data()), auth::Secret::kBytes));
  return secret;
}

}  // namespace

auth::Secret TlsSecretOf(const auth::Secret& key) {
  return auth::DeriveSecret(key, "rdmafs tls 1.3 external psk 1");
}

int FindTlsKey(SSL* ssl, const unsigned char* identity, size_t size, SSL_SESSION** session) {
  TlsSession& own = SessionOf(ssl);
  const std::string_view name(reinterpret_cast<const char*>(identity), size);
  if (!auth::IsKeyName(name)) {  // nor fit for a log line
    *session = nullptr;
    return 1;
  }
  own.shown_key = std::string(name);
  const std::optional<auth::Secret> secret = (*own.find_key)(name);
  own.shown_key_known = secret.has_value();
  // Whether there is such a key the answer does not tell: both ways the binder is wrong.
  *session = AsSession(ssl, secret ? *secret : RandomSecret());
  return 1;
}

int ShowTlsKey(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, size_t* size,
               SSL_SESSION** session) {
  const TlsSession& own = SessionOf(ssl);
  *session = nullptr;
  // Asked for once more with the digest when the server wants another group.
  if (!own.key || (digest != nullptr && !EVP_MD_is_a(digest, "SHA256"))) return 1;
  *identity = reinterpret_cast<const unsigned char*>(own.key->name.data());
  *size = own.key->name.size();
  *session = AsSession(ssl, own.key->secret);
  return 1;
}

}  // namespace rdmafs
