#include "client/client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "client/answers.h"
#include "client/client_calls.h"
#include "transport/base/log.h"

namespace rdmafs {
namespace {

// Of one connection, when the server is to be reached again: a SYN that was lost is sent again
// within it.
constexpr Nanoseconds kReconnectTimeout = 3 * kSecond;
constexpr Nanoseconds kFarewellPatience = kSecond;
constexpr Nanoseconds kBusyPause = 200 * kMillisecond;

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(Connector& connector, BufferPool& messages,
                                                        const ClientOptions& options,
                                                        std::vector<EventLoop*> loops) {
  std::unique_ptr<Client> client(new Client(connector, messages, options, std::move(loops)));
  const Nanoseconds patience = client->After(options.set_up_timeout);
  absl::Status status = client->Establish();
  // A server that many clients come back to at once.
  while (absl::IsResourceExhausted(status) && client->waiting_.Now() < patience) {
    client->CloseChannels();
    client->WaitBackoff(kBusyPause);
    status = client->Establish();
  }
  if (!status.ok()) {
    client->Shutdown();
    return status;
  }
  Log(LogLevel::kNotice, "connected to ", connector.server().host, ":", options.path, " over ",
      connector.chosen(), client->SecurityText(), " (", connector.why(), ")");
  client->StartTimers();
  {
    absl::MutexLock lock(&client->mutex_);
    client->supervised_ = true;
  }
  client->supervisor_ = client->waiting_.Start([raw = client.get()] {
    raw->Supervise();
    absl::MutexLock lock(&raw->mutex_);
    raw->supervised_ = false;
  });
  return client;
}

Client::Client(Connector& connector, BufferPool& messages, const ClientOptions& options,
               std::vector<EventLoop*> loops)
    : connector_(connector),
      messages_(messages),
      options_(options),
      waiting_(options.waiting != nullptr ? *options.waiting : threads_) {
  CHECK(!loops.empty());
  const int shard_count = static_cast<int>(loops.size());
  const int per_shard = std::max(1, options.connection_count / shard_count);
  shards_.resize(loops.size());
  for (size_t i = 0; i < loops.size(); ++i) {
    Shard& shard = shards_[i];
    shard.loop = loops[i];
    shard.file_system = std::make_unique<RemoteFileSystem>(
        *loops[i], static_cast<CallChannel::Owner&>(*this), messages, open_table_, per_shard);
    shard.file_system->set_sync(options.sync);
    shard.answers_seen.resize(per_shard);
    shard.alive.resize(per_shard);
    shard.pinged.resize(per_shard);
  }
  // Each shard's first, then each one's second: a server hands connections to its shards in turn,
  // so what the second ones carry (bulk data) is not all at one of them.
  for (int k = 0; k < per_shard; ++k) {
    for (size_t i = 0; i < loops.size(); ++i)
      channels_.push_back({&shards_[i].file_system->channel(k), i});
  }
}

std::string Client::SecurityText() const {
  absl::MutexLock lock(&mutex_);
  if (!security_) return "";
  return absl::StrCat(", ", security_->protocol, " ", security_->cipher, ", ", security_->peer);
}

Client::~Client() { CHECK(shards_.empty()); }

// --- Setting up ---

absl::Status Client::OpenChannel(size_t index, SessionName& session, uint16_t* credits,
                                 Nanoseconds deadline) {
  Nanoseconds left = deadline - waiting_.Now();
  if (attached_once_) left = std::min(left, kReconnectTimeout);
  left = std::max<Nanoseconds>(left, kMillisecond);
  auto connection = index == 0 ? connector_.ConnectFirst(left) : connector_.Connect(left);
  if (!connection.ok()) return connection.status();
  CallChannel* channel = channels_[index].channel;
  {
    absl::MutexLock lock(&mutex_);
    ++connected_;
    if (index == 0) {
      device_ = (*connection)->device();
      exposure_ = (*connection)->exposure();
      peer_ = (*connection)->peer();
    }
  }
  RunOn(*shards_[channels_[index].shard].loop, [&] { channel->Connect(std::move(*connection)); });

  return PreferReasonOfLoss(Greet(index, session, credits, deadline));
}

// Why TLS came to nothing says more than that the connection has ended.
absl::Status Client::PreferReasonOfLoss(absl::Status status) const {
  if (!absl::IsUnavailable(status) || !connector_.tls()) return status;
  absl::MutexLock lock(&mutex_);
  if (loss_reason_.ok()) return status;
  return absl::Status(loss_reason_.code(),
                      absl::StrCat(connector_.server().host, ": ", loss_reason_.message()));
}

std::optional<ChannelSecurity> Client::SecurityOf(size_t index) {
  std::optional<ChannelSecurity> security;
  const Channel& entry = channels_[index];
  RunOn(*shards_[entry.shard].loop, [&] {
    if (!entry.channel->IsConnected() || entry.channel->connection()->security() == nullptr) return;
    security = *entry.channel->connection()->security();
  });
  return security;
}

// Un-synced writes were in the memory of a host that has restarted.
void Client::CompareBoot(const wire::HelloReply& hello) {
  const std::array<uint64_t, 2> boot = {hello.fixed.boot[0], hello.fixed.boot[1]};
  const std::array<uint64_t, 2> before = std::exchange(boot_, boot);
  if (before == boot || before == std::array<uint64_t, 2>{}) return;
  const size_t count = open_table_.MarkLosses();
  Log(LogLevel::kWarning, "server ", connector_.server().host, " has restarted; ", count,
      " open files had writes that were not synced: their next fsync or close says EIO");
}

absl::Status Client::AttachRoot(Nanoseconds deadline) {
  auto reply = std::make_shared<wire::EntryReply>();
  auto path = std::make_shared<std::string>(options_.path);
  const std::string host = connector_.server().host;
  if (path->size() > wire::kMaxPathBytes) return absl::InvalidArgumentError("the path is too long");
  CallPayload text = InlineText(messages_, *path);
  if (!text.hold) return absl::ResourceExhaustedError("no memory for a message");
  absl::Status status = CallFirst(
      0, wire::AttachRequest{}, std::move(text), deadline,
      [reply, path, host](const Answer& answer) {
        auto decoded = DecodeAnswer<wire::EntryReply>(answer);
        if (decoded.ok()) {
          *reply = *decoded;
          return absl::OkStatus();
        }
        const Errno error = decoded.error();
        const std::string what = absl::StrCat(host, ":", *path);
        if (error == Errno(EACCES) || error == Errno(EPERM)) {
          return absl::PermissionDeniedError(
              absl::StrCat(what, ": the server does not export it to this host"));
        }
        if (error == Errno(ENOKEY)) {
          return absl::PermissionDeniedError(
              absl::StrCat(what, ": the server demands a key: mount with sec=psk,key=FILE"));
        }
        if (error == Errno(EOPNOTSUPP)) {
          return absl::PermissionDeniedError(
              absl::StrCat(what, ": it is not exported with sec=psk"));
        }
        if (error == Errno(EPROTOTYPE)) {
          return absl::PermissionDeniedError(
              absl::StrCat(what,
                           ": it is exported over TLS only (option tls), or to who has a "
                           "certificate or a key for it"));
        }
        if (error == Errno(ENOENT))
          return absl::NotFoundError(absl::StrCat(what, ": no such export"));
        if (error == Errno(ENOTDIR))
          return absl::NotFoundError(absl::StrCat(what, ": not a directory"));
        if (error == Errno(ENOTCONN)) {
          return absl::UnavailableError(absl::StrCat(host, " ended the connection"));
        }
        return absl::UnavailableError(absl::StrCat(what, ": ", error.ToString()));
      });
  if (!status.ok()) return status;
  if (!attached_once_) {
    root_ = {reply->attributes, reply->handle};
    read_only_ = (reply->flags & wire::kAttachReadOnly) != 0;
    wants_forget_ = (reply->flags & wire::kAttachWantsForget) != 0;
    attached_once_ = true;
  } else if (!(reply->handle == root_.handle)) {
    Log(LogLevel::kWarning, host, ":", *path,
        " is another directory than before: handles are stale");
  }
  return absl::OkStatus();
}

absl::Status Client::ReopenFiles(Nanoseconds deadline) {
  for (const OpenTable::Row& row : open_table_.Rows()) {
    Caller caller;
    caller.uid = row.uid;
    caller.gid = row.gid;
    auto error = std::make_shared<Errno>();
    auto take = [error](const Answer& answer) {
      *error = answer.error;
      return answer.error == Errno(ENOTCONN) ? absl::UnavailableError("lost again")
                                             : absl::OkStatus();
    };
    if (absl::Status status = CallFirst(
            0, wire::OpenRequest{caller, row.handle, row.open_id, row.flags, wire::kOpenAgain}, {},
            deadline, take);
        !status.ok()) {
      return status;
    }
    if (!error->ok()) {
      open_table_.MarkStale(row.open_id);
      Log(LogLevel::kWarning, "an open file could not be opened again: ", error->ToString());
      continue;
    }
    for (const OpenTable::Lock& lock : row.locks) {
      if (absl::Status status = CallFirst(
              0, wire::SetLockRequest{row.open_id, lock.range, lock.flags}, {}, deadline, take);
          !status.ok()) {
        return status;
      }
      if (!error->ok())
        Log(LogLevel::kWarning, "a lock was lost with the server: ", error->ToString());
    }
  }
  return absl::OkStatus();
}

absl::Status Client::Establish() {
  const Nanoseconds deadline = After(options_.set_up_timeout);
  {
    absl::MutexLock lock(&mutex_);
    loss_ = false;
    loss_reason_ = absl::OkStatus();
  }
  ++epoch_;
  const SessionName asked = newest_session_;
  SessionName session = asked;
  std::vector<uint16_t> credits(channels_.size());
  if (absl::Status status = OpenChannel(0, session, &credits[0], deadline); !status.ok())
    return status;
  newest_session_ = session;
  if (session != served_session_) {
    // The last attempt opened files and took locks in it, nobody knows how many: it must go.
    if (session == asked) {
      CallFirst(0, wire::EndRequest{}, {}, deadline, [](const Answer&) {
        return absl::OkStatus();
      }).IgnoreError();
      return absl::AbortedError("a session that was set up by half has to end first");
    }
    const bool again = attached_once_;
    if (absl::Status status = AttachRoot(deadline); !status.ok()) return status;
    if (again) {
      absl::Status status = ReopenFiles(After(6 * options_.set_up_timeout));
      if (!status.ok()) return status;
      // Others need not wait any longer for what this client takes again.
      status = CallFirst(0, wire::PingRequest{}, {}, deadline,
                         [](const Answer&) { return absl::OkStatus(); });
      if (!status.ok()) return status;
    }
  }
  for (size_t i = 1; i < channels_.size(); ++i) {
    absl::Status status = OpenChannel(i, session, &credits[i], After(options_.set_up_timeout));
    if (!status.ok()) return status;
  }
  served_session_ = session;
  for (size_t i = 0; i < channels_.size(); ++i) {
    Shard& shard = shards_[channels_[i].shard];
    RunOn(*shard.loop, [&, i] {
      shard.file_system->set_wants_forget(wants_forget_);
      channels_[i].channel->Resume(credits[i], session);
    });
  }
  return absl::OkStatus();
}

// --- The end ---

void Client::Shutdown() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (supervisor_.joinable()) {
    {
      auto ended = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !supervised_; };
      absl::MutexLock lock(&mutex_);
      waiting_.Await(mutex_, absl::Condition(&ended), Waiting::kForEver);
    }
    supervisor_.join();
    SayFarewell();
  }
  CloseChannels();
  for (Shard& shard : shards_) {
    RunOn(*shard.loop, [&shard] {
      shard.loop->Cancel(shard.timer);
      shard.file_system.reset();
    });
  }
  shards_.clear();
}

// So that the server does not keep what is open and locked until the lease is over.
void Client::SayFarewell() {
  if (IsLost()) return;
  CallFirst(0, wire::EndRequest{}, {}, After(kFarewellPatience), [](const Answer&) {
    return absl::OkStatus();
  }).IgnoreError();
}

// --- The way to the server ---

namespace {

// A few pings, one after the other, on a shard's thread.
struct RoundTrips {
  static constexpr int kPings = 5;
  int left = kPings;
  Nanoseconds shortest = 0;
  absl::Notification done;
};

void Ping(CallChannel& channel, EventLoop& loop, std::shared_ptr<RoundTrips> trips) {
  const Nanoseconds begin = loop.clock().Now();
  channel.Start(wire::PingRequest{}, {}, OnLoss::kFail,
                [&channel, &loop, trips = std::move(trips), begin](Answer answer) mutable {
                  const Nanoseconds took = loop.clock().Now() - begin;
                  if (!answer.error.ok()) return trips->done.Notify();
                  trips->shortest = trips->shortest == 0 ? took : std::min(trips->shortest, took);
                  if (--trips->left == 0) return trips->done.Notify();
                  Ping(channel, loop, std::move(trips));
                });
}

}  // namespace

Nanoseconds Client::MeasureRoundTrip() {
  auto trips = std::make_shared<RoundTrips>();
  Shard& shard = shards_[channels_[0].shard];
  shard.loop->Post([channel = channels_[0].channel, loop = shard.loop, trips] {
    Ping(*channel, *loop, trips);
  });
  const bool done =
      trips->done.WaitForNotificationWithTimeout(absl::Nanoseconds(options_.set_up_timeout));
  return done ? trips->shortest : 0;
}

// --- Looking inside ---

Client::Status Client::status() const {
  Status status;
  status.transport = connector_.chosen();
  status.why = connector_.why();
  status.reconnect_count = reconnects_.load(std::memory_order_relaxed);
  status.connected = !IsLost();
  absl::MutexLock lock(&mutex_);
  status.device = device_;
  status.exposure = exposure_;
  if (security_) status.security = absl::StrCat(security_->protocol, " ", security_->cipher);
  status.peer = peer_;
  status.connection_count = connected_;
  for (const Channel& entry : channels_) {
    const CallChannel::Counters& counters = entry.channel->counters();
    status.calls += counters.calls.load(std::memory_order_relaxed);
    status.answers += counters.answers.load(std::memory_order_relaxed);
    status.repeated_count += counters.repeated.load(std::memory_order_relaxed);
    status.failed_by_loss_count += counters.failed_by_loss.load(std::memory_order_relaxed);
    status.in_flight += counters.in_flight.load(std::memory_order_relaxed);
    status.waiting += counters.waiting.load(std::memory_order_relaxed);
    status.credits += counters.credits.load(std::memory_order_relaxed);
    const CallChannel::Traffic traffic = entry.channel->traffic();
    status.messages_sent += traffic.messages_sent;
    status.messages_received += traffic.messages_received;
    status.bytes_sent += traffic.bytes_sent;
    status.bytes_received += traffic.bytes_received;
    status.copied_bytes += traffic.copied_bytes;
  }
  return status;
}

}  // namespace rdmafs
