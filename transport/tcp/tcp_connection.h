// TcpConnection: one end of a connection over a stream socket.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "transport/base/pipe.h"
#include "transport/base/unique_fd.h"
#include "transport/connection.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/frame_reader.h"
#include "transport/tcp/send_queue.h"
#include "transport/tcp/staging.h"

namespace rdmafs {

// See Connection. A frame is a message and, behind it, the payload that its header announces: a
// call's source, or what a reply pushes. Everything that could end in OnClosed happens in
// EndOfRound(), which the loop calls when no handler of this connection is running.
class TcpConnection final : public Connection {
 public:
  enum class Role { kClient, kServer };

  // `socket` is connected and non-blocking. `credits` is what this side offers; the first call
  // agrees. `stream`: over that socket; nullptr: the socket's own bytes. `lender`: pages of its
  // blocks may be lent to the socket of a peer on this host while it is renewable(), which it stays
  // while one is; outlives the connection.
  TcpConnection(UniqueFd socket, Role role, std::string peer, uint16_t credits,
                std::shared_ptr<StagingPool> pool, std::unique_ptr<ByteStream> stream = nullptr,
                Arena* lender = nullptr);
  ~TcpConnection() override;

  std::string_view transport_name() const override { return "tcp"; }
  std::string peer() const override { return peer_; }
  const ChannelSecurity* security() const override {
    return security_.load(std::memory_order_acquire);
  }
  bool pushes_files() const override { return role_ == Role::kServer && stream_->sends_files(); }
  void Start(EventLoop& loop, ConnectionHandler& handler) override;
  Errno Post(Outgoing message) override;
  void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
            Reply<Pulled> reply) override {
    PullThrough(request, FileRange(), destination, std::move(hold), std::move(reply));
  }
  void PullThrough(const ReceivedMessage& request, FileRange through,
                   absl::Span<std::byte> destination, Buffer hold, Reply<Pulled> reply) override;
  void Close(absl::Status reason) override;

 private:
  // As much as a server sends from the page cache; by pipe less gains little.
  static constexpr size_t kMinPipeBytes = 128 << 10;

  // Client: a slot, and what its call in flight exposed.
  struct Call {
    bool in_flight = false;
    bool source_queued = false;  // the kernel has not taken all of the source yet
    uint32_t sequence = 0;
    absl::Span<std::byte> sink;
    bool by_pipe = false;
    absl::Span<std::byte> lent;  // what the socket, or the peer's, may refer to
    Buffer hold;
  };
  // Server: the payload that stands next in the stream.
  struct Incoming {
    enum class State { kNone, kOffered, kPulling, kSkipping };
    State state = State::kNone;
    uint16_t slot = 0;
    uint32_t sequence = 0, size = 0;
    absl::Span<const std::byte> head;
    absl::Span<std::byte> rest;
    Buffer hold;
    FileRange through;
    Reply<Pulled> reply;
  };

  void OnEvent(uint32_t events);
  bool OpenStream();
  void Schedule();
  void EndOfRound();
  void ContinueNextRound();
  void Flush();
  void Receive();
  bool WaitsForOwner() const;

  bool PrepareCall(Outgoing& message, SendQueue::Message& queued);
  bool WantsPipe(size_t size, uint16_t& flags);
  absl::Span<std::byte> Lendable(const Outgoing& message) const;
  void PrepareReply(const Outgoing& message);
  void OnMessage(ReceivedMessage message);
  void OnRequest(ReceivedMessage request);
  void OnReply(ReceivedMessage reply);
  void OnPayload();
  void DeliverReply();
  void ChooseReadMode();

  void Fail(absl::Status reason);
  void FailBecause(const char* doing, int error);
  void FailAtFault();
  void FailAtEnd();
  void Finish();
  void TakeBackLent();

  const Role role_;
  const std::string peer_;
  const bool same_host_;  // client
  const std::shared_ptr<StagingPool> pool_;
  Arena* const lender_;

  // Shard thread only.
  UniqueFd socket_;
  std::unique_ptr<ByteStream> stream_;
  bool stream_open_ = false;
  EventLoop* loop_ = nullptr;
  ConnectionHandler* handler_ = nullptr;
  FrameReader reader_;
  SendQueue queue_;
  bool writable_ = true;
  bool receiving_ = false;
  bool scheduled_ = false;   // EndOfRound() will run
  bool continuing_ = false;  // a task on the loop will go on receiving
  bool closing_ = false;
  bool finished_ = false;
  absl::Status reason_;

  std::vector<Call> calls_;     // client, by slot
  PayloadPipe pipe_;            // client: of current_
  size_t sinks_in_flight_ = 0;  // client
  // Client: a reply that waits for its payload, or for its call's to be sent.
  ReceivedMessage current_;
  bool reply_ready_ = false;  // client: current_ is complete
  Incoming incoming_;         // server
  int exact_messages_ = 0;    // server: how many more to read exactly

  // The stream's; written by the shard thread.
  std::atomic<const ChannelSecurity*> security_{nullptr};
};

}  // namespace rdmafs
