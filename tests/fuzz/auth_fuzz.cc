// Fuzz target: a hostile client's challenge and proof, a hostile server's answers, and any text as
// a key file.
//
// The first byte says which; the rest is the message's bytes. Nobody who does not have the secret
// proves anything.
#include <algorithm>
#include <cstring>
#include <vector>

#include "transport/auth/key_file.h"
#include "transport/base/check.h"

namespace {

using namespace rdmafs;
using namespace rdmafs::auth;

// The same in every run, and no two handshakes alike within one.
RandomSource Sequence() {
  return [next = uint8_t{1}](absl::Span<std::byte> bytes) mutable {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(next += 7);
  };
}

Key TheKey() {
  Key key;
  key.name = "fuzz";
  key.secret.bytes().fill(3);
  return key;
}

wire::HelloRequest Hello() {
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion, 0, wire::kMaxPayloadBytes, 1, {1, 2}};
  return hello;
}

template <typename Message>
bool Decode(absl::Span<const std::byte> bytes, Message& message) {
  wire::Decoder decoder(bytes);
  return message.Code(decoder) && decoder.AtEnd();
}

// The challenge, and behind it the proof.
void HostileClient(absl::Span<const std::byte> bytes) {
  wire::ChallengeRequest challenge;
  const size_t size = std::min(bytes.size(), sizeof challenge.fixed);
  if (!Decode(bytes.first(size), challenge)) return;
  if (ServerHandshake::FindFault(challenge) != nullptr) return;
  CHECK(IsKeyName(ServerHandshake::KeyName(challenge)) ||
        challenge.fixed.mechanism == wire::kMechanismJoin);
  wire::ProveRequest proof;
  if (!Decode(bytes.subspan(size), proof)) proof = {};
  for (const auto& secret : {std::optional<Secret>(TheKey().secret), std::optional<Secret>()}) {
    for (const auto& session : {std::optional<Secret>(TheKey().secret), std::optional<Secret>()}) {
      ServerHandshake server(challenge, secret, session, Sequence());
      CHECK(!server.Verify(proof));
    }
  }
}

// The answer to the challenge, and behind it the server's proof.
void HostileServer(absl::Span<const std::byte> bytes) {
  wire::ChallengeReply reply;
  const size_t size = std::min(bytes.size(), sizeof reply.fixed);
  if (!Decode(bytes.first(size), reply)) return;
  wire::ProveReply proof;
  if (!Decode(bytes.subspan(size), proof)) proof = {};
  for (bool joins : {false, true}) {
    ClientHandshake client =
        joins ? ClientHandshake(Hello(), TheKey().secret, Sequence())
              : ClientHandshake(Hello(), TheKey(), std::nullopt, Sequence());
    const Result<wire::ProveRequest> proved = client.Prove(reply);
    CHECK(!client.Verify(proof));
    // What the client says is not what the server has to say.
    if (proved.ok()) CHECK(!client.Verify({proof.hello, proved->proof}));
  }
}

void KeyFileText(absl::Span<const std::byte> bytes) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  absl::StatusOr<std::vector<Key>> keys = ParseKeys(text, "FILE");
  if (!keys.ok()) return;
  CHECK(!keys->empty() && keys->size() <= kMaxKeys);
  for (const Key& key : *keys) CHECK(IsKeyName(key.name));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // A copy of exactly that size, so that a read beyond it is seen.
  std::vector<std::byte> bytes(size - 1);
  if (size > 1) std::memcpy(bytes.data(), data + 1, size - 1);
  switch (data[0] % 3) {
    case 0: HostileClient(bytes); break;
    case 1: HostileServer(bytes); break;
    default: KeyFileText(bytes);
  }
  return 0;
}
