#include "client/tls_options.h"

#include <vector>

#include "transport/base/log.h"
#include "transport/tls/tls_files.h"

namespace rdmafs {
namespace {

void LoadAgain(TlsFiles& files) {
  const std::optional<absl::Status> loaded = files.LoadIfChanged();
  if (!loaded) return;
  if (loaded->ok()) {
    Log(LogLevel::kNotice, "read the certificates again");
  } else {
    Log(LogLevel::kWarning, "the certificates stay as they were: ", loaded->message());
  }
}

}  // namespace

absl::Status TlsOptions::Check(bool psk) const {
  if (!on && (!ca_file.empty() || !certificate_file.empty() || !private_key_file.empty())) {
    return absl::InvalidArgumentError(
        "ca=, cert= and cert_key= are for tls, which is not among the options");
  }
  if (certificate_file.empty() != private_key_file.empty()) {
    return absl::InvalidArgumentError(
        "cert= and cert_key= belong together: one of them is missing");
  }
  if (!certificate_file.empty() && ca_file.empty()) {
    return absl::InvalidArgumentError(
        "cert= needs ca=FILE, by which the server's certificate is known");
  }
  if (on && ca_file.empty() && !psk) {
    return absl::InvalidArgumentError(
        "tls needs ca=FILE, by which the server's certificate is known, or a key (sec=psk)");
  }
  if (mutual && certificate_file.empty() && !(psk && ca_file.empty())) {
    return absl::InvalidArgumentError(
        "xprtsec=mtls needs cert=FILE and cert_key=FILE, or a key (sec=psk)");
  }
  return absl::OkStatus();
}

absl::StatusOr<TlsSource> MakeTlsSource(const TlsOptions& options, const KeySource& key) {
  if (!options.on) return TlsSource();
  TlsContext::ClientOptions made;
  if (options.ca_file.empty()) made.key = key;
  made.ca_file = options.ca_file;
  made.certificate_file = options.certificate_file;
  made.private_key_file = options.private_key_file;
  auto files = std::make_shared<TlsFiles>(
      std::vector{made.ca_file, made.certificate_file, made.private_key_file},
      [made] { return TlsContext::ForClient(made); });
  if (absl::Status status = files->Load(); !status.ok()) return status;
  return [files] {
    LoadAgain(*files);
    return files->context();
  };
}

}  // namespace rdmafs
