// HandshakeLimit: how many clients may be proving who they are at one time, by a key or in TLS.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/limits.h"

namespace rdmafs::server {

// Thread-safe. A place is taken with a challenge and given back when the proof was right, or when
// the refusal of a wrong one was sent: so it also bounds how many guesses there are in a second.
// TLS takes it with its first byte; a challenge inside goes on with that one, any other first
// message gives it back, and the end of a connection that said none does so kRefusalDelay later.
class HandshakeLimit {
 public:
  // Gives its place back when it goes; the limit outlives it.
  class Ticket {
   public:
    Ticket(HandshakeLimit& limit, std::string host) : limit_(&limit), host_(std::move(host)) {}
    Ticket(Ticket&& other) noexcept
        : limit_(std::exchange(other.limit_, nullptr)), host_(std::move(other.host_)) {}
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket() {
      if (limit_ != nullptr) limit_->Return(host_);
    }

   private:
    HandshakeLimit* limit_;
    std::string host_;
  };

  // Nothing when there are kMaxHandshakes, or kMaxHandshakesPerHost from this one.
  std::optional<Ticket> Take(const std::string& host);
  size_t count() const;

 private:
  void Return(const std::string& host);

  mutable absl::Mutex mutex_;
  size_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, size_t> by_host_ ABSL_GUARDED_BY(mutex_);  // none is 0
};

}  // namespace rdmafs::server
