// TlsContext and TlsSession: with what this side proves itself in TLS, and what it wants to see of
// the other.
#pragma once

#include <openssl/ssl.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "transport/auth/handshake.h"
#include "transport/base/channel_security.h"

namespace rdmafs {

struct TlsFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

struct TlsSession;

// TLS 1.3 and nothing older; AES-128-GCM or ChaCha20-Poly1305, as both go with the SHA-256 that
// external keys are bound to; always with (EC)DHE. No session tickets, no early data. Immutable,
// thread-safe.
class TlsContext : public std::enable_shared_from_this<TlsContext> {
 public:
  // The secret of that name; nothing where there is none. Called by the threads of connections:
  // must not block.
  using FindKey = std::function<std::optional<auth::Secret>(std::string_view name)>;
  // The key to show. Called by NewSession().
  using GetKey = std::function<absl::StatusOr<auth::Key>()>;

  // With keys, with a certificate, or both: the client chooses.
  struct ServerOptions {
    FindKey find_key;              // nothing: certificates only
    std::string certificate_file;  // PEM, with the chain; "": keys only
    std::string private_key_file;  // PEM, of mode 0600
    // Clients that come without a key must show a certificate of these; "": none.
    std::string ca_file;
  };
  // With a key, or by the server's certificate, never by both.
  struct ClientOptions {
    GetKey key;                    // nothing: by its certificate
    // That the server's certificate must be of, for the host's name or address.
    std::string ca_file;
    std::string certificate_file;  // to show, "": none
    std::string private_key_file;
  };

  // Read the files. The status is one sentence for the user.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> ForServer(const ServerOptions& options);
  static absl::StatusOr<std::shared_ptr<const TlsContext>> ForClient(const ClientOptions& options);

  bool is_server() const { return is_server_; }
  // For one connection. Client: to `host`, a name or an address; may read the key's file. Blocks
  // for that.
  absl::StatusOr<std::unique_ptr<TlsSession>> NewSession(const std::string& host) const;

 private:
  using Context = std::unique_ptr<SSL_CTX, TlsFree>;
  TlsContext(Context context, bool is_server)
      : context_(std::move(context)), is_server_(is_server) {}

  const Context context_;
  const bool is_server_;
  FindKey find_key_;  // server
  GetKey get_key_;    // client
};

// The context of the next connection. Asked by whoever connects or listens; to a listener it must
// not block.
using TlsSource = std::function<std::shared_ptr<const TlsContext>()>;
// The same for all.
inline TlsSource Always(std::shared_ptr<const TlsContext> context) {
  return [context = std::move(context)] { return context; };
}

// One connection's. Owned by one thread at a time; stays where it is, as its SSL knows it.
struct TlsSession {
  // After the handshake. PERMISSION_DENIED: the server did not use the key that it was shown.
  absl::StatusOr<ChannelSecurity> Describe() const;
  // Why a call of libssl failed, from its errors of this thread: PERMISSION_DENIED and one sentence
  // for the log (server) or the user (client).
  absl::Status Explain() const;

  std::unique_ptr<SSL, TlsFree> ssl;
  bool is_server = false;
  std::optional<auth::Key> key;       // client: to show
  const TlsContext::FindKey* find_key = nullptr;
  std::string shown_key;              // server: the name that the client showed
  bool shown_key_known = false;
  std::shared_ptr<const TlsContext> context;  // what find_key points into
};

}  // namespace rdmafs
