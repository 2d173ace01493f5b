#include "transport/auth/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <memory>

#include "transport/base/check.h"

namespace rdmafs::auth {
namespace {

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
  void operator()(EVP_MAC* mac) const { EVP_MAC_free(mac); }
  void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

Owned<EVP_PKEY> PrivateKey(const Secret& secret) {
  Owned<EVP_PKEY> key(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, secret.bytes().data(),
                                                   Secret::kBytes));
  CHECK(key != nullptr);  // any 32 bytes are one
  return key;
}

}  // namespace

void SystemRandom(absl::Span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = getrandom(bytes.data(), bytes.size(), 0);
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void Secret::Wipe() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

bool SameBytes(const Digest& a, const Digest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Digest Hmac(const Secret& key, std::initializer_list<absl::Span<const uint8_t>> parts) {
  static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  CHECK(mac != nullptr);
  Owned<EVP_MAC_CTX> context(EVP_MAC_CTX_new(mac));
  char digest_name[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string("digest", digest_name, 0),
                                   OSSL_PARAM_construct_end()};
  CHECK(context != nullptr);
  CHECK(EVP_MAC_init(context.get(), key.bytes().data(), Secret::kBytes, parameters) == 1);
  for (absl::Span<const uint8_t> part : parts) {
    CHECK(EVP_MAC_update(context.get(), part.data(), part.size()) == 1);
  }
  Digest digest;
  size_t size = 0;
  CHECK(EVP_MAC_final(context.get(), digest.data(), &size, digest.size()) == 1 &&
        size == digest.size());
  return digest;
}

Secret DeriveSecret(const Secret& key, std::string_view label) {
  const Secret extracted(Hmac(Secret(), {key.bytes()}));  // RFC 5869, 2.2: no salt is 32 bytes of 0
  const uint8_t first_block = 1;
  return Secret(Hmac(extracted, {Bytes(label), {&first_block, 1}}));
}

EphemeralKey::EphemeralKey(const RandomSource& random) {
  random(absl::MakeSpan(reinterpret_cast<std::byte*>(private_key_.bytes().data()), Secret::kBytes));
  const Owned<EVP_PKEY> key = PrivateKey(private_key_);
  size_t size = public_key_.size();
  CHECK(EVP_PKEY_get_raw_public_key(key.get(), public_key_.data(), &size) == 1 &&
        size == public_key_.size());
}

std::optional<Secret> EphemeralKey::Agree(const Digest& peer_public_key) const {
  const Owned<EVP_PKEY> own = PrivateKey(private_key_);
  const Owned<EVP_PKEY> peer(EVP_PKEY_new_raw_public_key(
      EVP_PKEY_X25519, nullptr, peer_public_key.data(), peer_public_key.size()));
  const Owned<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new(own.get(), nullptr));
  CHECK(context != nullptr);
  Secret shared;
  size_t size = Secret::kBytes;
  if (peer == nullptr || EVP_PKEY_derive_init(context.get()) != 1 ||
      EVP_PKEY_derive_set_peer(context.get(), peer.get()) != 1 ||
      EVP_PKEY_derive(context.get(), shared.bytes().data(), &size) != 1 ||
      size != Secret::kBytes) {
    return std::nullopt;
  }
  return shared;
}

}  // namespace rdmafs::auth
