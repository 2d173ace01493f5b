// TlsStream: a byte stream through TLS 1.3.
#pragma once

#include <memory>

#include "absl/types/span.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/staging.h"
#include "transport/tcp/tls_socket.h"
#include "transport/tls/tls_context.h"

namespace rdmafs {

// What is read is decrypted into the caller's parts; what is written is encrypted out of them,
// small parts together in one record. A server's stream looks at the first byte, and is none for a
// peer that does not begin TLS; to one that does it gives nothing before it is asked a second time.
class TlsStream final : public ByteStream {
 public:
  // Records under one key of AES-GCM; RFC 8446, 5.5, has 24 million as the bound.
  static constexpr uint64_t kRecordsPerKey = uint64_t{1} << 23;

  // `session` has had nothing done with it; `fd` outlives this.
  TlsStream(int fd, std::unique_ptr<TlsSession> session, std::shared_ptr<StagingPool> pool,
            uint64_t records_per_key = kRecordsPerKey);
  ~TlsStream() override;

  Opening Open() override;
  ssize_t Read(const iovec* parts, int count, bool& drained) override;
  ssize_t Discard(size_t size, bool& drained) override;
  ssize_t Write(const iovec* parts, int count) override;
  bool holds_output() const override { return socket_.holds_output(); }
  void End() override;
  const absl::Status& failure() const override { return failure_; }
  const ChannelSecurity* security() const override { return &security_; }

 private:
  enum class Outcome { kDone, kBlocked, kEnd, kFailed };

  Opening LookAtFirstByte();
  Opening FailToOpen();
  Outcome ReadOnce(std::byte* to, size_t size, size_t& got);
  Outcome WriteOnce(absl::Span<const std::byte> bytes, size_t& taken);
  Outcome Judge(int result);
  ssize_t Result(size_t done, Outcome outcome);

  SSL* ssl() const { return session_->ssl.get(); }

  const std::unique_ptr<TlsSession> session_;
  const uint64_t records_per_key_;
  const int fd_;
  TlsSocket socket_;
  ChannelSecurity security_;
  bool looked_ = false;        // at the first byte
  bool broken_ = false;        // libssl must not be asked again
  bool record_waits_ = false;  // libssl has one that the socket did not take
  uint64_t records_ = 0;       // under the key that is used now
  absl::Status failure_;
};

}  // namespace rdmafs
