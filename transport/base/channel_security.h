// ChannelSecurity: what protects a connection below its messages.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace rdmafs {

// A value, set once when TLS is set up.
struct ChannelSecurity {
  std::string protocol;  // "TLSv1.3"
  std::string cipher;    // "TLS_AES_128_GCM_SHA256"
  // Whom the peer has shown to be: "key compute", "certificate CN = host", "": nobody.
  std::string peer;
  bool mutual = false;   // both ends have shown who they are
  // Secret, of this connection alone, the same at both ends: with it a handshake inside is bound to
  // the tunnel.
  std::array<uint8_t, 32> binding{};
};

}  // namespace rdmafs
