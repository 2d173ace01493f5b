// FindTlsKey and ShowTlsKey: a key of sec=psk as an external pre-shared key of TLS 1.3.
#pragma once

#include <openssl/ssl.h>

#include "transport/auth/cipher.h"

namespace rdmafs {

// The secret that TLS is given for a key's: another one, so that nothing of TLS says anything about
// the handshake that uses the key itself, or the other way round.
auth::Secret TlsSecretOf(const auth::Secret& key);

// libssl's callbacks, see SSL_CTX_set_psk_find_session_callback(3) and
// SSL_CTX_set_psk_use_session_callback(3). The SSL's application data is its TlsSession.
int FindTlsKey(SSL* ssl, const unsigned char* identity, size_t size, SSL_SESSION** session);
int ShowTlsKey(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, size_t* size,
               SSL_SESSION** session);

}  // namespace rdmafs
