// TlsOptions: how a client speaks TLS with its server, as a mount's or a program's options say it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/key_source.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {

struct TlsOptions {
  bool on = false;
  bool mutual = false;  // this client must show something, too
  std::string ca_file;  // the server shows a certificate of these; "": it shows the key
  std::string certificate_file, private_key_file;  // that this client shows; "": none

  // Whether they go together; INVALID_ARGUMENT with one sentence. `psk`: the client has a key.
  absl::Status Check(bool psk) const;
};

// Nothing where it is off. `key`: the client's, if it has one. Reads the files, and again for a
// connection when they have changed: with a fault in them all stays as it was, and the log says so
// once. Paths should be absolute.
absl::StatusOr<TlsSource> MakeTlsSource(const TlsOptions& options, const KeySource& key);

}  // namespace rdmafs
