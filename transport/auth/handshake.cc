#include "transport/auth/handshake.h"

#include <algorithm>
#include <cstring>

namespace rdmafs::auth {
namespace {

template <typename T>
absl::Span<const uint8_t> BytesOf(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

void Fill(const RandomSource& random, Digest& bytes) {
  random(absl::MakeSpan(reinterpret_cast<std::byte*>(bytes.data()), bytes.size()));
}

constexpr bool IsZero(absl::Span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// What all proofs of one handshake are made with. Every part has one size, so that nothing can be
// moved from one to the next.
Secret MasterSecret(const Secret& base, const Binding& binding, const Secret& agreed,
                    const Secret& session, const wire::ChallengeRequest& challenge,
                    const wire::ChallengeReply& reply) {
  if (binding) {
    return Secret(Hmac(base, {Bytes("rdmafs tunnelled key handshake 1"), *binding, agreed.bytes(),
                              session.bytes(), BytesOf(challenge.fixed), BytesOf(reply.fixed)}));
  }
  return Secret(Hmac(base, {Bytes("rdmafs key handshake 1"), agreed.bytes(), session.bytes(),
                            BytesOf(challenge.fixed), BytesOf(reply.fixed)}));
}

Digest ClientProof(const Secret& master) { return Hmac(master, {Bytes("rdmafs client proof")}); }
Digest ServerProof(const Secret& master, const wire::HelloReply& hello) {
  return Hmac(master, {Bytes("rdmafs server proof"), BytesOf(hello.fixed)});
}
Secret SessionSecret(const Secret& master) {
  return Secret(Hmac(master, {Bytes("rdmafs session secret")}));
}

wire::ChallengeRequest ChallengeFor(const wire::HelloRequest& hello, wire::Mechanism mechanism,
                                    const RandomSource& random) {
  wire::ChallengeRequest challenge;
  challenge.fixed.magic = hello.fixed.magic;
  challenge.fixed.version = hello.fixed.version;
  challenge.fixed.channel = hello.fixed.channel;
  challenge.fixed.max_payload = hello.fixed.max_payload;
  challenge.fixed.epoch = hello.fixed.epoch;
  challenge.fixed.session[0] = hello.fixed.session[0];
  challenge.fixed.session[1] = hello.fixed.session[1];
  challenge.fixed.mechanism = mechanism;
  Fill(random, challenge.fixed.nonce);
  return challenge;
}

}  // namespace

bool IsKeyName(std::string_view name) {
  if (name.empty() || name.size() >= wire::kMaxKeyNameBytes) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '.' || c == '_' || c == '@' || c == '-';
  });
}

Digest Fingerprint(const Key& key) {
  return Hmac(key.secret, {Bytes("rdmafs key fingerprint"), Bytes(key.name)});
}

// --- The client ---

ClientHandshake::ClientHandshake(const wire::HelloRequest& hello, const Key& key,
                                 const std::optional<Secret>& session_secret,
                                 const RandomSource& random)
    : challenge_(ChallengeFor(hello, wire::kMechanismKey, random)),
      key_(key.secret),
      session_secret_(session_secret),
      ephemeral_(random) {
  CHECK(IsKeyName(key.name));
  challenge_.fixed.public_key = ephemeral_->public_key();
  std::copy(key.name.begin(), key.name.end(), challenge_.fixed.key_name.begin());
}

ClientHandshake::ClientHandshake(const wire::HelloRequest& hello, const Secret& session_secret,
                                 const RandomSource& random)
    : challenge_(ChallengeFor(hello, wire::kMechanismJoin, random)),
      session_secret_(session_secret) {}

Result<wire::ProveRequest> ClientHandshake::Prove(const wire::ChallengeReply& reply,
                                                  const Binding& binding) {
  const bool knows = (reply.fixed.flags & wire::kChallengeKnowsSession) != 0;
  if (reply.fixed.version != wire::kVersion ||
      (reply.fixed.flags & ~wire::kChallengeKnowsSession) != 0) {
    return Errno(EPROTO);
  }
  if (reply.fixed.nonce == challenge_.fixed.nonce || (knows && !session_secret_)) {
    return Errno(EPROTO);
  }
  Secret agreed;
  if (ephemeral_) {
    if (reply.fixed.public_key == challenge_.fixed.public_key) return Errno(EPROTO);
    const std::optional<Secret> result = ephemeral_->Agree(reply.fixed.public_key);
    if (!result) return Errno(EPROTO);
    agreed = *result;
  } else if (!knows || !IsZero(reply.fixed.public_key)) {
    return Errno(EPROTO);
  }
  const Secret session = knows ? *session_secret_ : Secret();
  master_ = MasterSecret(key_ ? *key_ : session, binding, agreed, session, challenge_, reply);
  new_session_secret_ = SessionSecret(master_);
  proved_ = true;
  return wire::ProveRequest{ClientProof(master_)};
}

bool ClientHandshake::Verify(const wire::ProveReply& reply) const {
  return proved_ && SameBytes(reply.proof, ServerProof(master_, reply.hello));
}

// --- The server ---

const char* ServerHandshake::FindFault(const wire::ChallengeRequest& challenge) {
  const auto& fixed = challenge.fixed;
  if (fixed.reserved != 0) return "reserved field";
  const absl::Span<const uint8_t> name(reinterpret_cast<const uint8_t*>(fixed.key_name.data()),
                                       fixed.key_name.size());
  switch (fixed.mechanism) {
    case wire::kMechanismKey: {
      const std::string_view text = KeyName(challenge);
      if (!IsKeyName(text) || !IsZero(name.subspan(text.size()))) return "name of a key";
      return nullptr;
    }
    case wire::kMechanismJoin:
      if (!IsZero(name) || !IsZero(fixed.public_key)) return "fields of another mechanism";
      return (fixed.session[0] | fixed.session[1]) == 0 ? "no session to join" : nullptr;
    default:
      return "unknown mechanism";
  }
}

std::string_view ServerHandshake::KeyName(const wire::ChallengeRequest& challenge) {
  const auto& name = challenge.fixed.key_name;
  return {name.data(), strnlen(name.data(), name.size())};
}

ServerHandshake::ServerHandshake(const wire::ChallengeRequest& challenge,
                                 const std::optional<Secret>& secret,
                                 const std::optional<Secret>& session_secret,
                                 const RandomSource& random, const Binding& binding)
    : challenge_(challenge), possible_(true) {
  reply_.fixed.version = wire::kVersion;
  reply_.fixed.flags = session_secret ? uint32_t{wire::kChallengeKnowsSession} : 0;
  Fill(random, reply_.fixed.nonce);
  Secret agreed;
  if (!joins()) {
    // The same work and the same answer whether or not there is such a key.
    const EphemeralKey ephemeral(random);
    reply_.fixed.public_key = ephemeral.public_key();
    const std::optional<Secret> result = ephemeral.Agree(challenge.fixed.public_key);
    possible_ = result && secret;
    if (result) agreed = *result;
  } else {
    possible_ = session_secret.has_value();
  }
  const Secret session = session_secret.value_or(Secret());
  const Secret base = joins() ? session : secret.value_or(Secret());
  master_ = MasterSecret(base, binding, agreed, session, challenge_, reply_);
  new_session_secret_ = SessionSecret(master_);
}

bool ServerHandshake::knows_session() const {
  return (reply_.fixed.flags & wire::kChallengeKnowsSession) != 0;
}

bool ServerHandshake::Verify(const wire::ProveRequest& proof) {
  const bool same = SameBytes(proof.proof, ClientProof(master_));
  return std::exchange(possible_, false) && same;
}

wire::ProveReply ServerHandshake::Answer(const wire::HelloReply& hello) const {
  return {hello, ServerProof(master_, hello)};
}

}  // namespace rdmafs::auth
