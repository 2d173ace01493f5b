// Bodies of what sets connections and sessions up, keeps them and ends them.
#pragma once

#include "transport/wire/opcode.h"

namespace rdmafs::wire {

struct HelloRequest {  // the first message of every connection, in the set-up slot
  static constexpr Opcode kOpcode = Opcode::kHello;
  struct {
    uint32_t magic;
    uint16_t version;
    uint16_t channel;        // this connection's number in its session
    uint32_t max_payload;
    uint32_t epoch;          // counts the client's attempts: of two hellos the later one counts
    uint64_t session[2];     // of a session to join; both 0: a new one
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
struct HelloReply {
  struct {
    uint32_t version;
    uint32_t max_payload;
    uint64_t session[2];
    uint64_t server[2];      // of this server process
    uint64_t boot[2];        // the server host's boot id: the write verifier
    uint32_t lease_ms;
    uint32_t reserved;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};

// Instead of HELLO, where the two sides prove to each other that they have a key: see
// transport/auth. In the set-up slot, both of a size that never changes.
inline constexpr size_t kNonceBytes = 32;
inline constexpr size_t kProofBytes = 32;
inline constexpr size_t kPublicKeyBytes = 32;  // X25519
inline constexpr size_t kMaxKeyNameBytes = 64;
enum Mechanism : uint32_t {
  kMechanismKey = 1,   // a key that both sides know by its name
  kMechanismJoin = 2,  // one more connection of a session that was begun with a key
};
struct ChallengeRequest {
  static constexpr Opcode kOpcode = Opcode::kChallenge;
  struct {
    uint32_t magic;  // from here on HELLO's fields
    uint16_t version;
    uint16_t channel;
    uint32_t max_payload;
    uint32_t epoch;
    uint64_t session[2];
    uint32_t mechanism;  // Mechanism
    uint32_t reserved;
    std::array<uint8_t, kNonceBytes> nonce;
    std::array<uint8_t, kPublicKeyBytes> public_key;  // kMechanismKey; else 0
    std::array<char, kMaxKeyNameBytes> key_name;      // kMechanismKey; filled up with 0
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
enum ChallengeFlags : uint32_t {
  kChallengeKnowsSession = 1 << 0,  // the proofs are of the session's secret, too
};
struct ChallengeReply {
  struct {
    uint32_t version;
    uint32_t flags;  // ChallengeFlags
    std::array<uint8_t, kNonceBytes> nonce;
    std::array<uint8_t, kPublicKeyBytes> public_key;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
struct ProveRequest {
  static constexpr Opcode kOpcode = Opcode::kProve;
  std::array<uint8_t, kProofBytes> proof{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(proof);
  }
};
struct ProveReply {
  HelloReply hello;
  std::array<uint8_t, kProofBytes> proof{};
  template <typename C>
  bool Code(C& c) {
    return hello.Code(c) && c.Fixed(proof);
  }
};
struct AttachRequest {  // inline payload: the path to mount, absolute
  static constexpr Opcode kOpcode = Opcode::kAttach;
  Caller caller;
  template <typename C>
  bool Code(C& c) {
    return c.CallerField(caller);
  }
};
struct PingRequest {  // answered by the server's shard itself, however busy its workers are
  static constexpr Opcode kOpcode = Opcode::kPing;
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
// The client gave the slot's last call up; answered when it does not run any more.
struct RetireRequest {
  static constexpr Opcode kOpcode = Opcode::kRetire;
  uint32_t slot = 0;
  uint32_t sequence = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(slot) && c.Fixed(sequence);
  }
};
// The client goes: its session ends with its connections, and is not kept for it.
struct EndRequest {
  static constexpr Opcode kOpcode = Opcode::kEnd;
  template <typename C>
  bool Code(C&) {
    return true;
  }
};
// What became of a call that was sent in a session which is over. Reply: RecallReply, and as inline
// payload the body that the call was answered with, if it was.
struct RecallRequest {
  static constexpr Opcode kOpcode = Opcode::kRecall;
  struct {
    uint64_t session[2];
    uint32_t slot;
    uint32_t sequence;
    uint32_t opcode;
    uint32_t reserved;
  } fixed{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fixed);
  }
};
enum class RecallFate : uint32_t {
  kNeverBegun = 0,  // and it never will be: it can be sent anew
  kDone = 1,        // `status` and the payload are its answer
};
struct RecallReply {
  RecallFate fate{};
  uint32_t status = 0;  // errno(3)
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(fate) && c.Fixed(status);
  }
};
enum AttachFlags : uint32_t {
  kAttachReadOnly = 1 << 0,
  // The store keeps a table of objects: say Forget when one is not needed.
  kAttachWantsForget = 1 << 1,
};

}  // namespace rdmafs::wire
