// Client: a mount's (or a library user's) tie to one server: connections for every shard, the
// session, and coming back after a loss.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/connector.h"
#include "client/key_source.h"
#include "client/open_table.h"
#include "client/reconnect_pauses.h"
#include "client/remote_file_system.h"
#include "client/waiting.h"

namespace rdmafs {

struct ClientOptions {
  std::string path;            // the directory at the server
  // Of the session; at least one for each shard. RDMA: one for each shard.
  int connection_count = 4;
  Nanoseconds set_up_timeout = 10 * kSecond;
  // soft: an operation that waited this long for a server that is not there fails with ETIMEDOUT. 0
  // (hard): it waits.
  Nanoseconds soft_timeout = 0;
  // A server that has said nothing for so long while it owed an answer, a ping's included, is taken
  // for dead: the connection is closed and made anew.
  Nanoseconds silence_timeout = 30 * kSecond;
  Nanoseconds max_backoff = 5 * kSecond;
  bool sync = false;           // every write is on the server's disk before it is acknowledged
  KeySource key;               // sec=psk: of every session; nothing: sec=sys. Any thread
  Waiting* waiting = nullptr;  // outlives the client; nullptr: ThreadWaiting
};

// Thread-safe, but Shutdown(). Shards are handed in as loops that run on threads of their own until
// after Shutdown().
class Client final : private CallChannel::Owner {
 public:
  struct Status {
    std::string transport, why, device, exposure, peer;
    std::string security;  // "TLSv1.3 TLS_AES_128_GCM_SHA256", "": none
    bool connected = false;
    uint64_t reconnect_count = 0;
    uint64_t calls = 0, answers = 0, repeated_count = 0, failed_by_loss_count = 0;
    uint32_t in_flight = 0, waiting = 0, credits = 0;
    uint64_t messages_sent = 0, messages_received = 0, bytes_sent = 0, bytes_received = 0,
             copied_bytes = 0;
    size_t connection_count = 0;
  };

  // `messages`: registered memory for small payload of the client's own (the path, targets of
  // symlinks), blocks of at least wire::kMaxInlineBytes; outlives the client. Connects, says hello,
  // attaches `options.path`; blocks. One clear sentence when it fails: who could not be reached and
  // why, or that the server has no such export or does not let us in.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(Connector& connector, BufferPool& messages,
                                                         const ClientOptions& options,
                                                         std::vector<EventLoop*> loops);
  // Shutdown() was called.
  ~Client() override;

  // For the thread of loops[shard] only.
  FileSystem& file_system(size_t shard) { return *shards_[shard].file_system; }
  const Entry& root() const { return root_; }
  bool read_only() const { return read_only_; }
  Status status() const;
  // Whether operations wait for a lost server now. Lock-free.
  bool IsLost() const { return lost_.load(std::memory_order_relaxed); }
  // The shortest of a few empty calls' times from shard to server and back; blocks for
  // set_up_timeout at most, 0 when no call was answered. Not on a shard's thread.
  Nanoseconds MeasureRoundTrip();

  // Ends the session and all connections; a server that does not answer is waited for no longer
  // than kFarewellPatience. Calls in flight answer ENOTCONN. Not on a shard's thread. Afterwards
  // file_system() is gone.
  void Shutdown();

 private:
  struct Shard {
    EventLoop* loop = nullptr;
    std::unique_ptr<RemoteFileSystem> file_system;
    EventLoop::TimerId timer = 0;
    // When each channel last showed life, and whether a ping is out.
    std::vector<uint64_t> answers_seen;
    std::vector<Nanoseconds> alive;
    std::vector<bool> pinged;
  };

  Client(Connector& connector, BufferPool& messages, const ClientOptions& options,
         std::vector<EventLoop*> loops);
  void OnChannelLost(CallChannel& channel, const absl::Status& reason) override;

  // The set-up thread's (the caller of Connect, then the supervisor).
  absl::Status Establish();
  absl::Status OpenChannel(size_t index, SessionName& session, uint16_t* credits,
                           Nanoseconds deadline);
  struct Granted {
    wire::HelloReply hello;
    uint16_t credits = 0;
  };
  absl::Status Greet(size_t index, SessionName& session, uint16_t* credits, Nanoseconds deadline);
  absl::Status ProveKey(size_t index, const wire::HelloRequest& hello,
                        const std::shared_ptr<Granted>& granted, Nanoseconds deadline);
  std::optional<ChannelSecurity> SecurityOf(size_t index);
  std::string SecurityText() const;
  absl::Status PreferReasonOfLoss(absl::Status status) const;
  absl::Status AttachRoot(Nanoseconds deadline);
  absl::Status ReopenFiles(Nanoseconds deadline);
  void SayFarewell();
  void CloseChannels();
  void Supervise();
  bool WaitBackoff(Nanoseconds delay);

  void StartTimers();
  void OnTimer(size_t shard);
  void Watch(Shard& shard, size_t index);

  size_t channel_count() const { return channels_.size(); }
  template <typename Message, typename Take>
  absl::Status CallFirst(size_t index, const Message& message, CallPayload payload,
                         Nanoseconds deadline, Take take);
  // Runs `task` on the loop's thread and waits for it.
  template <typename Task>
  void RunOn(EventLoop& loop, Task task);
  Nanoseconds After(Nanoseconds delay) const { return waiting_.Now() + delay; }

  Connector& connector_;
  BufferPool& messages_;
  const ClientOptions options_;
  ThreadWaiting threads_;
  Waiting& waiting_;
  OpenTable open_table_;
  std::vector<Shard> shards_;
  struct Channel {
    CallChannel* channel;
    size_t shard;
  };
  std::vector<Channel> channels_;  // the first one sets the session up

  // Set by Connect, constant afterwards.
  Entry root_;
  bool read_only_ = false;
  bool wants_forget_ = false;
  bool attached_once_ = false;
  // The set-up thread's.
  SessionName newest_session_ = kNoSession;   // that the server gave
  std::optional<auth::Secret> session_secret_;  // of it, when it was begun with a key
  SessionName served_session_ = kNoSession;   // in which the files are open, on every connection
  uint32_t epoch_ = 0;                        // attempts to set a session up
  std::array<uint64_t, 2> boot_ = {0, 0};     // of the server's host: the write verifier
  void CompareBoot(const wire::HelloReply& hello);

  std::atomic<bool> lost_{false};
  std::atomic<uint64_t> reconnects_{0};
  mutable absl::Mutex mutex_;
  size_t connected_ ABSL_GUARDED_BY(mutex_) = 0;  // channels with a connection
  bool loss_ ABSL_GUARDED_BY(mutex_) = false;     // one was lost since Establish()
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool supervised_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status loss_reason_ ABSL_GUARDED_BY(mutex_);
  std::string device_ ABSL_GUARDED_BY(mutex_), exposure_ ABSL_GUARDED_BY(mutex_);
  std::string peer_ ABSL_GUARDED_BY(mutex_);
  // Of the session's first connection.
  std::optional<ChannelSecurity> security_ ABSL_GUARDED_BY(mutex_);
  std::thread supervisor_;
};

}  // namespace rdmafs
