// HMAC and X25519 give what their RFCs say.
#include "transport/auth/cipher.h"

#include <gtest/gtest.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

#include <cstring>
#include <memory>
#include <string>

namespace rdmafs::auth {
namespace {

Digest FromHex(const std::string& hex) {
  Digest digest{};
  size_t size = 0;
  EXPECT_EQ(OPENSSL_hexstr2buf_ex(digest.data(), digest.size(), &size, hex.c_str(), '\0'), 1);
  return digest;
}

RandomSource Fixed(const Digest& bytes) {
  return [bytes](absl::Span<std::byte> out) { std::memcpy(out.data(), bytes.data(), out.size()); };
}

// RFC 4231, case 1: a key of 20 bytes is the same as one that is filled up with zeros.
TEST(Hmac, GivesTheValueOfTheRfcOverAllParts) {
  const Secret key(FromHex("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"));
  EXPECT_EQ(Hmac(key, {Bytes("Hi "), Bytes("There")}),
            FromHex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
}

// RFC 7748, section 6.1.
TEST(EphemeralKey, GivesTheValuesOfTheRfc) {
  const EphemeralKey alice(
      Fixed(FromHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")));
  const EphemeralKey bob(
      Fixed(FromHex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")));
  EXPECT_EQ(alice.public_key(),
            FromHex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
  EXPECT_EQ(bob.public_key(),
            FromHex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
  const Digest shared = FromHex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
  EXPECT_EQ(alice.Agree(bob.public_key())->bytes(), shared);
  EXPECT_EQ(bob.Agree(alice.public_key())->bytes(), shared);
}

TEST(EphemeralKey, RefusesAPointThatWouldMakeTheSecretKnown) {
  const EphemeralKey key(SystemRandom);
  EXPECT_FALSE(key.Agree(Digest{}).has_value());
  Digest one{};
  one[0] = 1;
  EXPECT_FALSE(key.Agree(one).has_value());
}

TEST(DeriveSecret, IsTheHkdfThatLibcryptoHas) {
  const Secret key(FromHex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"));
  const std::string label = "rdmafs test";
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(
      EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr), &EVP_PKEY_CTX_free);
  Digest expected{};
  size_t size = expected.size();
  ASSERT_EQ(EVP_PKEY_derive_init(context.get()), 1);
  ASSERT_EQ(EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha256()), 1);
  ASSERT_EQ(EVP_PKEY_CTX_set1_hkdf_key(context.get(), key.bytes().data(), Secret::kBytes), 1);
  ASSERT_EQ(
      EVP_PKEY_CTX_add1_hkdf_info(context.get(), reinterpret_cast<const uint8_t*>(label.data()),
                                  static_cast<int>(label.size())),
      1);
  ASSERT_EQ(EVP_PKEY_derive(context.get(), expected.data(), &size), 1);
  EXPECT_EQ(DeriveSecret(key, label).bytes(), expected);
  EXPECT_NE(DeriveSecret(key, "another label").bytes(), expected);
}

TEST(SameBytes, SeesADifferenceAtEitherEnd) {
  Digest a{}, b{};
  EXPECT_TRUE(SameBytes(a, b));
  b[31] = 1;
  EXPECT_FALSE(SameBytes(a, b));
  a[0] = 1;
  EXPECT_FALSE(SameBytes(a, b));
}

TEST(Secret, IsWiped) {
  Secret secret(FromHex("ff"));
  secret.Wipe();
  EXPECT_EQ(secret.bytes(), Digest{});
}

}  // namespace
}  // namespace rdmafs::auth
