// Client's loss and recovery: who notices that the server is away, and gets it back.
#include "absl/strings/str_cat.h"
#include "client/client_calls.h"
#include "transport/base/log.h"

namespace rdmafs {
namespace {

constexpr Nanoseconds kTick = kSecond;

// Not a server that is away, but something that somebody has to put right.
bool IsRefusal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

void Client::OnChannelLost(CallChannel&, const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  CHECK(connected_ > 0);
  --connected_;
  if (!loss_) loss_reason_ = reason;
  loss_ = true;
}

void Client::CloseChannels() {
  for (Shard& shard : shards_) {
    RunOn(*shard.loop, [&shard] {
      for (size_t k = 0; k < shard.file_system->channel_count(); ++k) {
        shard.file_system->channel(k).Disconnect(
            absl::CancelledError("the session is being set up anew"));
      }
    });
  }
  auto all_closed = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return connected_ == 0; };
  absl::MutexLock lock(&mutex_);
  waiting_.Await(mutex_, absl::Condition(&all_closed), Waiting::kForEver);
}

bool Client::WaitBackoff(Nanoseconds delay) {
  auto stopping = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return stopping_; };
  absl::MutexLock lock(&mutex_);
  return !waiting_.Await(mutex_, absl::Condition(&stopping), After(delay));
}

void Client::Supervise() {
  while (true) {
    std::string reason;
    {
      auto wanted = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return loss_ || stopping_; };
      absl::MutexLock lock(&mutex_);
      waiting_.Await(mutex_, absl::Condition(&wanted), Waiting::kForEver);
      if (stopping_) return;
      reason = std::string(loss_reason_.message());
    }
    lost_.store(true, std::memory_order_relaxed);
    Log(LogLevel::kWarning, "server ", connector_.server().host, " is not answering (", reason,
        "); ",
        options_.soft_timeout > 0 ? "operations fail after their timeout"
                                  : "operations wait for it");
    const Nanoseconds lost_at = waiting_.Now();
    ReconnectPauses pauses(options_.max_backoff);
    std::string refusal;  // that was told of
    while (true) {
      CloseChannels();
      absl::Status status = Establish();
      if (status.ok()) break;
      Log(LogLevel::kDebug, "no connection yet: ", status.message());
      if (IsRefusal(status) && refusal != status.message()) {
        refusal = std::string(status.message());
        Log(LogLevel::kWarning, refusal);
      }
      // One that was reached and would not serve; a set-up that is only to begin anew is none.
      if (!absl::IsAborted(status)) connector_.Skip();
      CloseChannels();
      if (!WaitBackoff(pauses.Next(waiting_.Now() - lost_at))) return;
    }
    lost_.store(false, std::memory_order_relaxed);
    reconnects_.fetch_add(1, std::memory_order_relaxed);
    Log(LogLevel::kNotice, "server ", connector_.server().host, " is back, over ",
        connector_.chosen());
  }
}

void Client::StartTimers() {
  for (size_t i = 0; i < shards_.size(); ++i) {
    RunOn(*shards_[i].loop, [this, i] {
      shards_[i].timer = shards_[i].loop->After(kTick, [this, i] { OnTimer(i); });
    });
  }
}

void Client::OnTimer(size_t index) {
  Shard& shard = shards_[index];
  for (size_t k = 0; k < shard.file_system->channel_count(); ++k) {
    if (options_.soft_timeout > 0) {
      shard.file_system->channel(k).FailOlder(shard.loop->clock().Now() - options_.soft_timeout,
                                              Errno(ETIMEDOUT));
    }
    Watch(shard, k);
  }
  shard.timer = shard.loop->After(kTick, [this, index] { OnTimer(index); });
}

void Client::Watch(Shard& shard, size_t index) {
  CallChannel& channel = shard.file_system->channel(index);
  const Nanoseconds now = shard.loop->clock().Now();
  const uint64_t answers = channel.counters().answers.load(std::memory_order_relaxed);
  if (!channel.IsConnected() || channel.in_flight_count() == 0 ||
      answers != shard.answers_seen[index]) {
    shard.answers_seen[index] = answers;
    shard.alive[index] = now;
    shard.pinged[index] = false;
    return;
  }
  const Nanoseconds silence = now - shard.alive[index];
  if (silence > options_.silence_timeout) {
    shard.alive[index] = now;
    channel.Disconnect(absl::UnavailableError("it has said nothing for too long"));
  } else if (silence > options_.silence_timeout / 2 && !shard.pinged[index]) {
    // Slow work (a disk, a lock) must not look like a dead server: a ping is answered all the same.
    shard.pinged[index] = true;
    channel.Start(wire::PingRequest{}, {}, OnLoss::kFail, [](Answer) {});
  }
}

}  // namespace rdmafs
