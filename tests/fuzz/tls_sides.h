// TlsSides: with what the two ends of a TLS connection come, and which pairs of them may ever get
// together.
#pragma once

#include <memory>
#include <string>

#include "transport/tls/tls_context.h"

namespace rdmafs {

// Our end, as a user has set it up.
enum class OurSide {
  kServerWithKey,
  kServerWithCertificate,
  kServerThatAsks,
  kServerWithBoth,
  kClientWithKey,
  kClientByCertificate
};
inline constexpr int kOurSides = 6;
inline bool IsServer(OurSide side) { return side < OurSide::kClientWithKey; }

// The other one, as it is or pretends to be.
enum class PeerSide {
  kKey,
  kWrongSecret,
  kAnyName,
  kCertificate,
  kOddCertificate,
  kForeignCertificate,
  kNoCertificate
};
inline constexpr int kPeerSides = 7;

// Made once: secrets are always the same, certificates are new ones for each process.
class TlsSides {
 public:
  TlsSides();

  std::unique_ptr<TlsSession> Ours(OurSide side) const;
  // `name`: a client's with kAnyName, for its key; any bytes.
  std::unique_ptr<TlsSession> Peers(PeerSide side, bool is_server, const std::string& name) const;
  // Whether the handshake of the two may come to its end where nobody is in the middle.
  static bool MayOpen(OurSide ours, PeerSide peer, const std::string& name);

 private:
  std::shared_ptr<const TlsContext> ours_[kOurSides], clients_[kPeerSides], servers_[kPeerSides];
};

}  // namespace rdmafs
