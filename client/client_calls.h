// How a Client's set-up thread calls on its shards' threads. For this class's own sources only.
#pragma once

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"

namespace rdmafs {

template <typename Task>
void Client::RunOn(EventLoop& loop, Task task) {
  bool done = false;
  loop.Post([&] {
    task();
    absl::MutexLock lock(&mutex_);
    done = true;
  });
  absl::MutexLock lock(&mutex_);
  waiting_.Await(mutex_, absl::Condition(&done), Waiting::kForEver);
}

template <typename Message, typename Take>
absl::Status Client::CallFirst(size_t index, const Message& message, CallPayload payload,
                               Nanoseconds deadline, Take take) {
  struct Outcome {
    bool done = false;
    absl::Status status;
  };
  // Guarded by mutex_; the answer may come after the deadline.
  auto outcome = std::make_shared<Outcome>();
  CallChannel* channel = channels_[index].channel;
  RunOn(*shards_[channels_[index].shard].loop, [&] {
    channel->StartFirst(message, std::move(payload), [this, outcome, take](Answer answer) {
      absl::Status status = take(answer);
      absl::MutexLock lock(&mutex_);
      outcome->status = std::move(status);
      outcome->done = true;
    });
  });
  absl::MutexLock lock(&mutex_);
  if (!waiting_.Await(mutex_, absl::Condition(&outcome->done), deadline)) {
    return absl::DeadlineExceededError(
        absl::StrCat(connector_.server().host, " accepted the connection but does not answer"));
  }
  return outcome->status;
}

}  // namespace rdmafs
