// The cryptography of the handshake: HMAC-SHA-256, HKDF, X25519, and memory that is wiped.
// libcrypto's, and the only file that includes it for this is cipher.cc.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "absl/types/span.h"

namespace rdmafs::auth {

// Fills its argument with unpredictable bytes: SystemRandom, or a test's sequence. Thread-safe
// where it is used by several threads.
using RandomSource = std::function<void(absl::Span<std::byte>)>;
// getrandom(2).
void SystemRandom(absl::Span<std::byte> bytes);

using Digest = std::array<uint8_t, 32>;

// 32 secret bytes that are wiped when they go. A value, owned by one thread at a time.
class Secret {
 public:
  static constexpr size_t kBytes = 32;

  Secret() = default;
  explicit Secret(const Digest& bytes) : bytes_(bytes) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { Wipe(); }

  const Digest& bytes() const { return bytes_; }
  Digest& bytes() { return bytes_; }
  void Wipe();

 private:
  Digest bytes_{};
};

// Whether both are the same, in a time that does not tell where they differ.
bool SameBytes(const Digest& a, const Digest& b);

// HMAC-SHA-256 (RFC 2104) over the parts, one behind the other. The caller sees to it that no two
// lists of parts can give the same bytes: every part but a leading label has a fixed size.
Digest Hmac(const Secret& key, std::initializer_list<absl::Span<const uint8_t>> parts);

// HKDF-SHA-256 (RFC 5869) without a salt: another secret, for the purpose that `label` names. Who
// knows it knows neither `key` nor what another label gives.
Secret DeriveSecret(const Secret& key, std::string_view label);

inline absl::Span<const uint8_t> Bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// An X25519 pair (RFC 7748) for one handshake.
class EphemeralKey {
 public:
  explicit EphemeralKey(const RandomSource& random);
  const Digest& public_key() const { return public_key_; }
  // Nothing for a point of small order, which would make the secret known to everyone.
  std::optional<Secret> Agree(const Digest& peer_public_key) const;

 private:
  Secret private_key_;
  Digest public_key_{};
};

}  // namespace rdmafs::auth
