// The transport seam: Transport, Listener, Connection, ConnectionHandler, ReceivedMessage.
//
// Rules that every transport keeps (tests/contract runs them over loopback, tcp and rdma):
//  - Messages of one connection arrive once, whole and in order.
//  - Only the server moves payload. A client exposes memory with a call (Outgoing::exposed); the
//    server pulls it (Pull) or pushes into it (Outgoing::push). What is pushed with a reply is in
//    the client's memory before that reply's OnMessage.
//  - With memory windows (MemoryExposure::kWindow) a call's memory is within the server's reach
//    from the call to its reply, which ends that with itself; a reply that does not, or ends
//    another call's reach, closes the connection, and its memory stays held until the flush.
//  - A Buffer handed over as `hold` is referenced until neither the peer nor the device can touch
//    it: for a call that exposes memory until its reply (same slot) was delivered or the connection
//    has closed and flushed; for inline payload and pushes until the send completed.
//  - OnClosed comes exactly once, is the last callback, and comes after every `hold` was dropped
//    and every Pull was completed. Close() and errors lead to it; it never comes from inside Post
//    or Pull.
//  - The first bytes of a server may come before the client's side knows it is established, and the
//    other way round; neither hangs nor loses them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "transport/base/channel_security.h"
#include "transport/base/clock.h"
#include "transport/base/errno.h"
#include "transport/base/event_loop.h"
#include "transport/base/pipe.h"
#include "transport/base/reply.h"
#include "transport/memory/buffer_pool.h"
#include "transport/memory/memory_region_cache.h"
#include "transport/wire/header.h"

namespace rdmafs {

// A message as it was received: a validated copy of its header, and a view of the rest. Owns the
// receive buffer, which goes back to the connection when this is destroyed (a server does so before
// it posts the reply: that is what a credit stands for). Destroyed on the shard thread; the views
// may be read on any. May outlive OnClosed (a disk may still be reading the payload when the peer
// is lost), but not the Connection: the owner of both keeps the latter until the last message is
// gone.
class ReceivedMessage {
 public:
  // Takes the receive buffer back: `release(owner, token)`.
  using Release = void (*)(void* owner, uint64_t token);

  ReceivedMessage() = default;
  ReceivedMessage(const wire::MessageHeader& header, absl::Span<const std::byte> tail,
                  Release release, void* owner, uint64_t token)
      : header_(header), tail_(tail), release_(release), owner_(owner), token_(token) {}
  ReceivedMessage(ReceivedMessage&& other) noexcept { *this = std::move(other); }
  ReceivedMessage& operator=(ReceivedMessage&& other) noexcept {
    if (this == &other) return *this;
    Drop();
    header_ = other.header_;
    tail_ = std::exchange(other.tail_, {});
    payload_pipe_ = other.payload_pipe_;
    release_ = std::exchange(other.release_, nullptr);
    owner_ = other.owner_;
    token_ = other.token_;
    return *this;
  }
  ~ReceivedMessage() { Drop(); }

  const wire::MessageHeader& header() const { return header_; }
  // Between header and inline payload. Views live as long as this object.
  absl::Span<const std::byte> body() const {
    return tail_.first(tail_.size() - header_.inline_size);
  }
  absl::Span<const std::byte> inline_payload() const { return tail_.last(header_.inline_size); }
  // A reply's payload stands there instead of in the memory that its call exposed, which allowed
  // it (Outgoing::by_pipe); until OnMessage returns. Else nullptr.
  PayloadPipe* payload_pipe() const { return payload_pipe_; }
  void set_payload_pipe(PayloadPipe* pipe) { payload_pipe_ = pipe; }
  // The transport's own number for the buffer and what is attached to it.
  uint64_t token() const { return token_; }
  // Gives the buffer back now; header() stays readable.
  void Drop() {
    if (release_ != nullptr) std::exchange(release_, nullptr)(owner_, token_);
    tail_ = {};
  }

 private:
  wire::MessageHeader header_{};
  absl::Span<const std::byte> tail_;
  PayloadPipe* payload_pipe_ = nullptr;
  Release release_ = nullptr;
  void* owner_ = nullptr;
  uint64_t token_ = 0;
};

// By what a client's calls let the server reach their memory, where memory is registered.
enum class MemoryExposure : uint8_t {
  kCache,   // the rkey of the registration they lie in, one for each direction, for all its life
  kWindow,  // a memory window of their own: their bytes, their direction, until their reply
};

// Bytes of an open file.
struct FileRange {
  int fd = -1;
  uint64_t offset = 0;
  size_t size = 0;
  std::shared_ptr<const void> owner;  // of fd: keeps it open
};

// A message to send. The transport sets header.size, inline_size, and for calls the remote_*
// fields.
struct Outgoing {
  wire::MessageHeader header{};
  absl::Span<const std::byte> body;            // copied by Post
  absl::Span<const std::byte> inline_payload;  // gathered, not copied; `hold` keeps it

  // Call: memory for the server to read (header.flags has kFlagSource) or write (kFlagSink), more
  // than 0 and at most kMaxPayloadBytes, inside an arena's slab; or foreign memory, then `foreign`
  // is the range around it that is to be registered as one, unless it is (see
  // Transport::ForgetMemory). It stays mapped until the reply, or the connection's end.
  absl::Span<std::byte> exposed;
  absl::Span<std::byte> foreign;
  // With kFlagSink: the asker takes the payload from a pipe, too.
  bool by_pipe = false;
  // Reply: goes into the memory that the call exposed; request_header, which comes with it, names
  // it.
  absl::Span<const std::byte> push;
  const wire::MessageHeader* request_header = nullptr;
  // Instead of `push`, where pushes_files(): goes there without a copy in this program. It is sent
  // as the file has it then; of what it has lost meanwhile, as zeros. When it cannot be read, the
  // connection fails.
  FileRange push_file;

  Buffer hold;
};

class Connection;

// Owned by the shard whose loop the connection was started on; called on its thread only.
class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;
  // A call (on the server) or a reply (on the client). May Post, Pull and Close.
  virtual void OnMessage(Connection& connection, ReceivedMessage message) = 0;
  // On the server, before anything is done for it: the peer begins to show who it is below the
  // messages (TLS). The first OnMessage says that this is over, or OnClosed. May Close.
  virtual void OnHandshake(Connection& connection) {}
  // The connection is finished; may destroy it. `reason` is for the log: kOk status code never,
  // kCancelled for our own Close, kUnavailable for the peer's or the network's, kInvalidArgument
  // for a peer that broke the protocol, kPermissionDenied for one that did not show who it is, or
  // was not convinced by what this end showed (TLS).
  virtual void OnClosed(Connection& connection, const absl::Status& reason) = 0;
};

// Counters of one connection; read from any thread without a lock.
struct ConnectionCounters {
  std::atomic<uint64_t> messages_sent{0}, messages_received{0};
  std::atomic<uint64_t> bytes_sent{0}, bytes_received{0};  // messages and payload
  // Payload bytes that this side's program copied; 0 is the aim.
  std::atomic<uint64_t> copied_bytes{0};
};

// After Start() used by its loop's thread only (but counters, peer() and security()).
class Connection {
 public:
  virtual ~Connection() = default;  // not before OnClosed, once Start() was called

  // "tcp", "rdma" or "loopback"; the peer's address "10.77.0.1:20490"; the device's name or "".
  virtual std::string_view transport_name() const = 0;
  virtual std::string peer() const = 0;
  virtual std::string device() const { return ""; }
  // A client's: "window", or "cache", as calls expose memory; behind a colon and a space what there
  // is to say about it, such as why it is not by windows, which were asked for. "" where there are
  // no rkeys.
  virtual std::string exposure() const { return ""; }
  // What protects its messages on their way, or nullptr. Known before the first OnMessage; lives as
  // long as the connection. Any thread.
  virtual const ChannelSecurity* security() const { return nullptr; }
  // Whether Outgoing::push_file can be used.
  virtual bool pushes_files() const { return false; }
  // Calls that may be in flight, as agreed at connect: slots are below this.
  uint16_t credits() const { return credits_; }

  // Hands the connection to `loop`: from now on `handler` is called on its thread, beginning with
  // what has already arrived. Called once, on that thread or before the loop runs.
  virtual void Start(EventLoop& loop, ConnectionHandler& handler) = 0;

  // Queues a message; sent at the end of the loop's round at the latest. ENOTCONN after a close;
  // EFAULT when `exposed`, inline_payload or push is not in registered memory; EFAULT or ENOMEM
  // when `foreign` cannot be registered. On an error nothing was
  // or will be sent. The caller keeps within the credits; beyond them is a programmer's error.
  virtual Errno Post(Outgoing message) = 0;

  // Server: fetches the payload that `request` exposed (kFlagSource), all remote_size bytes, into
  // `destination` (of that size, inside `hold`). Completes with the bytes there, or ENOTCONN. Over
  // TCP the bytes stand in the stream behind the request: later messages of this connection wait
  // until Pull was called, so a server that refuses a call answers without Pull and the transport
  // skips them; and what the read of the header already brought is given back as `head`: the
  // payload is head followed by the rest of `destination`. Valid as long as `request` is.
  struct Pulled {
    absl::Span<const std::byte> head;  // empty but over TCP, sometimes
    absl::Span<const std::byte> rest;  // destination.first(remote_size - head.size())
    size_t written = 0;                // PullThrough(): what is before both, in the file
  };
  virtual void Pull(const ReceivedMessage& request, absl::Span<std::byte> destination, Buffer hold,
                    Reply<Pulled> reply) = 0;

  // The same, by way of a file (`through.size` is remote_size) where the transport can do so
  // without a copy in this program: payload is written there as it arrives, up to the first error.
  // What was not is in `head` and `rest`, for the caller to write and to learn why.
  virtual void PullThrough(const ReceivedMessage& request, FileRange through,
                           absl::Span<std::byte> destination, Buffer hold, Reply<Pulled> reply) {
    Pull(request, destination, std::move(hold), std::move(reply));
  }

  // Begins the end: nothing more is sent, OnClosed follows when all is flushed. Idempotent.
  virtual void Close(absl::Status reason) = 0;

  const ConnectionCounters& counters() const { return counters_; }

 protected:
  ConnectionCounters counters_;
  uint16_t credits_ = wire::kDefaultCredits;  // set before Start()
};

struct Endpoint {
  std::string host;  // name or numeric address; for Listen "" is all addresses
  uint16_t port = 0;
};

struct ConnectionOptions {
  // The most calls in flight, agreed at connect: the smaller wins.
  uint16_t credits = wire::kDefaultCredits;
  Nanoseconds timeout = 10 * kSecond;        // for name lookup, connect and establishment together
};

class Listener {
 public:
  virtual ~Listener() = default;  // on its loop's thread, or after the loop has ended
  virtual std::string address() const = 0;
  virtual uint16_t port() const = 0;
};

// Thread-safe. Connections take buffers for messages from `messages` (payload_bytes >=
// wire::kMaxMessageBytes); their slabs and those of exposed memory are `arena`'s. All must outlive
// it.
struct TransportResources {
  Arena& arena;
  BufferPool& messages;
  const Clock& clock;
  // What Connect() aims at. Where a device or a server cannot, calls are exposed by kCache.
  MemoryExposure exposure = MemoryExposure::kCache;
  // Whether tcp may lend pages of the arena's blocks to a socket instead of having them copied
  // (vmsplice(2)): where SIGPIPE is ignored, and nothing registers the arena while a call over tcp
  // is in flight.
  bool lends_pages = false;
};

class Transport {
 public:
  // An accepted connection, not started yet; the receiver starts it on any loop it likes.
  using AcceptFunction = std::function<void(std::unique_ptr<Connection>)>;

  virtual ~Transport() = default;
  virtual std::string_view name() const = 0;
  // Why this transport cannot be used here (no device, no permission, memlock), or OK.
  virtual absl::Status Available() const = 0;
  // Blocks for options.timeout at most. One clear sentence in the status when it fails.
  virtual absl::StatusOr<std::unique_ptr<Connection>> Connect(const Endpoint& peer,
                                                              const ConnectionOptions& options) = 0;
  // `accept` is called on `loop`'s thread. endpoint.port 0: any free one, see Listener::port().
  virtual absl::StatusOr<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                                           const ConnectionOptions& options,
                                                           EventLoop& loop,
                                                           AcceptFunction accept) = 0;
  // Registrations and lookups, all protection domains together.
  virtual MemoryRegionCache::Statistics memory_statistics() const = 0;
  // Whether memory is registered before the device may reach it. Where it is not, any memory will
  // do.
  virtual bool registers_memory() const { return false; }
  // Keeps foreign memory registered for `access`, in every protection domain there is now. Blocks.
  // ENOMEM, EFAULT: see MemoryRegistrar::Register().
  virtual Result<std::vector<MemoryRegionCache::Pin>> PinMemory(absl::Span<std::byte> memory,
                                                                MemoryAccess access) {
    return std::vector<MemoryRegionCache::Pin>();
  }
  // No registration of foreign memory that touches `memory` is used for another call. Must be
  // called before that mapping ends. What it drops is deregistered by the next registration, or
  // TrimMemory(). Neither allocates nor blocks on a device.
  virtual void ForgetMemory(absl::Span<const std::byte> memory) {}
  virtual void TrimMemory() {}
};

}  // namespace rdmafs
