#include "server/server_tls.h"

#include <optional>
#include <string_view>
#include <vector>

namespace rdmafs::server {
namespace {

std::optional<auth::Secret> FindSecret(const KeyRing& keys, std::string_view name) {
  const std::optional<KeyRing::Found> found = keys.Find(name);
  return found ? std::optional(found->secret) : std::nullopt;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFiles>> MakeServerTls(const ServerConfiguration& configuration,
                                                        const KeyRing& keys) {
  if (configuration.tls == TlsChoice::kOff) return std::unique_ptr<TlsFiles>();
  if (configuration.certificate_file.empty() && !keys.loaded()) {
    return absl::FailedPreconditionError(
        "tls= needs a certificate (cert=FILE,cert_key=FILE), or keys (sec=psk)");
  }
  const TlsContext::ServerOptions options{
      .find_key = [&keys](std::string_view name) { return FindSecret(keys, name); },
      .certificate_file = configuration.certificate_file,
      .private_key_file = configuration.private_key_file,
      .ca_file = configuration.ca_file};
  auto files = std::make_unique<TlsFiles>(
      std::vector{options.certificate_file, options.private_key_file, options.ca_file},
      [options] { return TlsContext::ForServer(options); });
  if (absl::Status status = files->Load(); !status.ok()) return status;
  return files;
}

}  // namespace rdmafs::server
