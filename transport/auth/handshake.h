// ClientHandshake and ServerHandshake: how two sides prove to each other that they have the same
// key, as pure state machines: messages in, messages out. docs/protocol.md ("Keys") has the
// formulas.
//
// The client speaks first and proves first: who has no key learns nothing from a server that could
// be tried against guesses, not even which names there are. Both proofs are over everything that
// either has said, their roles, and the server's answer to the hello; X25519 makes what was
// recorded worthless when a key is stolen later. Each side's nonce is fresh, so that nothing said
// before, or by the other side, is a proof now.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "transport/auth/cipher.h"
#include "transport/base/errno.h"
#include "transport/wire/messages.h"

namespace rdmafs::auth {

// A key by its name. `secret` is what is never shown.
struct Key {
  std::string name;     // IsKeyName()
  Secret secret;
  std::string options;  // the server's: what export options this key's clients have; "" for none
};

// 1 to 63 letters, digits and "._@-": fit for a log line and for the wire.
bool IsKeyName(std::string_view name);

// Names a key's content without telling it: the same for the same name and secret.
Digest Fingerprint(const Key& key);

// What both ends of a tunnel (TLS) around the handshake know of it and nobody else does: a proof
// that was made in one counts in no other, so that nobody who ends both can hand it on.
using Binding = std::optional<Digest>;

// One connection's, the client's side. Owned by one thread.
class ClientHandshake {
 public:
  // With `key`. `session_secret`: of the session that `hello` asks for, when it asks for one.
  ClientHandshake(const wire::HelloRequest& hello, const Key& key,
                  const std::optional<Secret>& session_secret, const RandomSource& random);
  // One more connection of the session whose secret this is.
  ClientHandshake(const wire::HelloRequest& hello, const Secret& session_secret,
                  const RandomSource& random);

  const wire::ChallengeRequest& challenge() const { return challenge_; }
  // The client's proof. EPROTO for an answer that no honest server gives: another version, what we
  // said ourselves, a secret of a session that was not asked for.
  Result<wire::ProveRequest> Prove(const wire::ChallengeReply& reply, const Binding& binding = {});
  // Whether the server has the key, too. Once, after Prove().
  bool Verify(const wire::ProveReply& reply) const;
  // Of a session that was begun with this handshake. After Verify().
  const Secret& session_secret() const { return new_session_secret_; }

 private:
  wire::ChallengeRequest challenge_;
  std::optional<Secret> key_;  // none: joins
  std::optional<Secret> session_secret_;
  std::optional<EphemeralKey> ephemeral_;
  Secret master_;
  Secret new_session_secret_;
  bool proved_ = false;
};

// The server's side.
class ServerHandshake {
 public:
  // `secret` is the named key's; nothing for a name that nobody has: then no proof will do, and the
  // client does not hear why. `session_secret`: of the session asked for, when there is that
  // session; a challenge that joins needs it. The challenge has passed FindFault().
  ServerHandshake(const wire::ChallengeRequest& challenge, const std::optional<Secret>& secret,
                  const std::optional<Secret>& session_secret, const RandomSource& random,
                  const Binding& binding = {});

  // What is wrong with a challenge in itself, or nullptr.
  static const char* FindFault(const wire::ChallengeRequest& challenge);
  static std::string_view KeyName(const wire::ChallengeRequest& challenge);

  const wire::ChallengeReply& reply() const { return reply_; }
  const wire::ChallengeRequest& challenge() const { return challenge_; }
  bool joins() const { return challenge_.fixed.mechanism == wire::kMechanismJoin; }
  // Whether the proofs are of the session's secret: the client is the one that began it.
  bool knows_session() const;
  // False for every proof after the first one that was asked about.
  bool Verify(const wire::ProveRequest& proof);
  // After Verify() was true.
  wire::ProveReply Answer(const wire::HelloReply& hello) const;
  const Secret& session_secret() const { return new_session_secret_; }

 private:
  const wire::ChallengeRequest challenge_;
  wire::ChallengeReply reply_;
  Secret master_;
  Secret new_session_secret_;
  bool possible_ = false;  // a proof may still be right
};

}  // namespace rdmafs::auth
