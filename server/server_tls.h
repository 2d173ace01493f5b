// MakeServerTls: what the server shows of itself in TLS, as its configuration says it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/key_ring.h"
#include "server/options.h"
#include "transport/tls/tls_files.h"

namespace rdmafs::server {

// Reads the files, so that there is a context; nullptr where TLS is off. `keys` outlives what is
// made.
absl::StatusOr<std::unique_ptr<TlsFiles>> MakeServerTls(const ServerConfiguration& configuration,
                                                        const KeyRing& keys);

}  // namespace rdmafs::server
