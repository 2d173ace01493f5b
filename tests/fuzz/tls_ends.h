// OurEnd and PeerEnd: a whole connection of ours through TLS, and a peer that says in it whatever
// it is told to.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "transport/base/event_loop.h"
#include "transport/base/unique_fd.h"
#include "transport/tcp/tcp_connection.h"
#include "transport/tcp/tls_stream.h"

namespace rdmafs {

// Looks at what comes out of a TlsStream: it must be what the peer has sent into its own, from the
// beginning and without a gap, whoever is in the middle.
class WatchedStream final : public ByteStream {
 public:
  // `sent` grows, and outlives this.
  WatchedStream(std::unique_ptr<TlsStream> stream, const std::string& sent)
      : stream_(std::move(stream)), sent_(sent) {}

  Opening Open() override;
  ssize_t Read(const iovec* parts, int count, bool& drained) override;
  ssize_t Discard(size_t size, bool& drained) override;
  ssize_t Write(const iovec* parts, int count) override { return stream_->Write(parts, count); }
  bool holds_output() const override { return stream_->holds_output(); }
  void End() override { stream_->End(); }
  const absl::Status& failure() const override { return stream_->failure(); }
  const ChannelSecurity* security() const override { return stream_->security(); }

 private:
  const std::unique_ptr<TlsStream> stream_;
  const std::string& sent_;
  size_t read_ = 0;
  bool begun_ = false;
};

// A TcpConnection and its owner: a server that answers everything, or a client that asks again and
// again.
class OurEnd final : public ConnectionHandler {
 public:
  struct Options {
    bool is_server = true;
    bool lets_nobody_in = false;  // server: closes when a handshake begins
    uint64_t records_per_key = TlsStream::kRecordsPerKey;
  };
  OurEnd(UniqueFd socket, std::unique_ptr<TlsSession> session, const std::string& sent,
         EventLoop& loop, const Options& options);
  ~OurEnd() override;

  bool closed() const { return closed_; }
  // Whether the handshake has come to its end.
  bool opened() const { return connection_->security() != nullptr; }
  void Close() { connection_->Close(absl::CancelledError("the end of the input")); }

  void OnHandshake(Connection&) override;
  void OnMessage(Connection&, ReceivedMessage message) override;
  void OnClosed(Connection&, const absl::Status& reason) override;

 private:
  struct Pulled {
    ReceivedMessage message;
    std::vector<std::byte> bytes;
  };

  void Serve(ReceivedMessage message);
  void Answer(const wire::MessageHeader& request);
  void Ask(uint16_t slot);

  const Options options_;
  std::shared_ptr<StagingPool> pool_ = std::make_shared<StagingPool>();
  static inline std::vector<std::byte> exposed_ = std::vector<std::byte>(40'000);  // a few records
  std::list<Pulled> pulled_;
  uint32_t asked_ = 0;
  bool handshake_ = false, closed_ = false;
  std::unique_ptr<TcpConnection> connection_;
};

class PeerEnd {
 public:
  PeerEnd(UniqueFd socket, std::unique_ptr<TlsSession> session);

  // Goes on with the handshake; afterwards takes whatever comes.
  void Advance();
  // In TLS; nothing before it stands. What went is what sent() grows by.
  void Send(std::string bytes);
  const std::string& sent() const { return sent_; }
  // Before what it sends next; `both`: it wants the other side to do the same.
  void UpdateKey(bool both);
  void End();

 private:
  std::shared_ptr<StagingPool> pool_ = std::make_shared<StagingPool>();
  UniqueFd socket_;
  SSL* const ssl_;
  std::unique_ptr<TlsStream> stream_;
  ByteStream::Opening opening_ = ByteStream::Opening::kBlocked;
  bool ended_ = false;
  std::string sent_;
};

}  // namespace rdmafs
