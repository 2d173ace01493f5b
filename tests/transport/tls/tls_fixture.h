// Keys and certificates for tests of TLS, and contexts with them.
#pragma once

#include <memory>
#include <string>

#include "transport/tls/tls_context.h"

namespace rdmafs {

auth::Key TestKey(const std::string& name = "compute", uint8_t byte = 7);

struct TlsPair {
  std::shared_ptr<const TlsContext> client, server;
};
// Both have TestKey().
TlsPair TlsWithKey();
// Certificates of one authority, the server's for localhost, 127.0.0.1 and ::1; the client shows
// one, too.
TlsPair TlsWithCertificates();

// An authority of its own in a directory that is removed with it: ca.pem, and a certificate and a
// private key NAME.pem, NAME.key for each that was asked for.
class TestAuthority {
 public:
  TestAuthority();
  ~TestAuthority();

  std::string ca_file() const { return directory_ + "/ca.pem"; }
  // `names`: as an OpenSSL subjectAltName: "IP:127.0.0.1,DNS:localhost".
  void Issue(const std::string& name, const std::string& names, int valid_seconds = 86400);
  std::string certificate_file(const std::string& name) const {
    return directory_ + "/" + name + ".pem";
  }
  std::string private_key_file(const std::string& name) const {
    return directory_ + "/" + name + ".key";
  }

 private:
  struct Keys;
  std::string directory_;
  std::unique_ptr<Keys> keys_;
};

}  // namespace rdmafs
