// TlsSession: what a handshake came to, and why one failed.
#include <openssl/err.h>
#include <openssl/x509.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "transport/base/check.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {
namespace {

constexpr std::string_view kBindingLabel = "EXPORTER-rdmafs-binding";
constexpr size_t kMaxSubjectBytes = 200;

std::string SubjectOf(const X509* certificate) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  CHECK(bio != nullptr);
  // Escapes whatever is not fit for a line.
  X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE);
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, std::min(static_cast<size_t>(size), kMaxSubjectBytes));
}

// The alert that the peer sent, or 0.
int AlertOf(unsigned long error) {
  const int reason = ERR_GET_REASON(error);
  const bool alert = ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET;
  return alert ? reason - SSL_AD_REASON_OFFSET : 0;
}

std::string ExplainToServer(const TlsSession& session, unsigned long error,
                            const std::string& text) {
  if (const int alert = AlertOf(error)) {
    return absl::StrCat("TLS: it ended the handshake: ", SSL_alert_desc_string_long(alert));
  }
  if (ERR_GET_REASON(error) == SSL_R_BINDER_DOES_NOT_VERIFY) {
    return absl::StrCat("TLS: key ", session.shown_key,
                        session.shown_key_known ? ": the secret is another one than here"
                                                : ": there is no key of that name here");
  }
  if (session.shown_key.empty() && SSL_get_certificate(session.ssl.get()) == nullptr) {
    return absl::StrCat("TLS: it shows no key, and there is no certificate here (", text, ")");
  }
  return absl::StrCat("TLS: ", text);
}

std::string ExplainToClient(const TlsSession& session, unsigned long error,
                            const std::string& text) {
  const int alert = AlertOf(error);
  if (alert != 0 && session.key) {
    return absl::StrCat("the server refused the key '", session.key->name,
                        "' for TLS: it has none of that name, or another secret (",
                        SSL_alert_desc_string_long(alert), ")");
  }
  if (alert != 0) {
    return absl::StrCat("the server ended the TLS handshake: ", SSL_alert_desc_string_long(alert),
                        " (does it want a certificate of this host, or a key?)");
  }
  const long verified = SSL_get_verify_result(session.ssl.get());
  if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED && session.key) {
    return absl::StrCat("the server did not take the key '", session.key->name,
                        "' for TLS and shows a certificate instead");
  }
  if (ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED) {
    return absl::StrCat("the server's certificate is not accepted: ",
                        X509_verify_cert_error_string(verified));
  }
  return absl::StrCat("TLS failed: ", text);
}

}  // namespace

absl::StatusOr<ChannelSecurity> TlsSession::Describe() const {
  ChannelSecurity security;
  security.protocol = SSL_get_version(ssl.get());
  security.cipher = SSL_get_cipher_name(ssl.get());
  const bool with_key = SSL_session_reused(ssl.get()) == 1;
  if (key && !with_key) {
    return absl::PermissionDeniedError(
        absl::StrCat("the server did not take the key '", key->name, "' for TLS"));
  }
  const X509* certificate = SSL_get0_peer_certificate(ssl.get());
  if (with_key) {
    security.peer = absl::StrCat("key ", is_server ? shown_key : key->name);
    security.mutual = true;
  } else if (certificate != nullptr) {
    security.peer = absl::StrCat("certificate ", SubjectOf(certificate));
    security.mutual = is_server || SSL_get_certificate(ssl.get()) != nullptr;
  }
  CHECK(SSL_export_keying_material(ssl.get(), security.binding.data(), security.binding.size(),
                                   kBindingLabel.data(), kBindingLabel.size(), nullptr, 0, 0) == 1);
  return security;
}

absl::Status TlsSession::Explain() const {
  const unsigned long error = ERR_peek_error();
  const char* reason = ERR_reason_error_string(error);
  const std::string text = reason != nullptr ? reason : "unknown error";
  const std::string sentence =
      is_server ? ExplainToServer(*this, error, text) : ExplainToClient(*this, error, text);
  ERR_clear_error();
  return absl::PermissionDeniedError(sentence);
}

}  // namespace rdmafs
