// Authentication: what a connection has of its handshake until it belongs to a session.
#pragma once

#include <string>

#include "server/handshake_limit.h"
#include "transport/auth/handshake.h"

namespace rdmafs::server {

// Who holds a key: its name, and which secret that had.
struct KeyIdentity {
  std::string name;
  auth::Digest fingerprint{};
  friend bool operator==(const KeyIdentity&, const KeyIdentity&) = default;
};

// Owned by its channel, on the shard's thread.
struct Authentication {
  HandshakeLimit::Ticket ticket;
  auth::ServerHandshake handshake;
  KeyIdentity key;         // as the client says; of the session, when it joins one
  bool key_known = false;  // the server has a key of that name
  bool proved = false;
};

}  // namespace rdmafs::server
