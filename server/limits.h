// The server's bounds, in one place.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport/base/clock.h"

namespace rdmafs::server {

// Calls in flight are at most connections x credits; that bounds every queue of calls (for a
// worker, for a block, for an append's turn), which are lists through the calls themselves.
inline constexpr size_t kMaxConnections = 8192;
inline constexpr size_t kMaxSessions = 4096;
// Their numbers are below this.
inline constexpr size_t kMaxChannelsPerSession = 64;
inline constexpr size_t kMaxAttachmentsPerSession = 16;
inline constexpr size_t kMaxOpensPerSession = 65536;

// off_t's end.
inline constexpr uint64_t kMaxFileOffset = INT64_MAX;

// How long a session is kept for a client that is away, when nobody says otherwise.
inline constexpr Nanoseconds kDefaultLease = 60 * kSecond;
// A connection that has not said hello by then is closed.
inline constexpr Nanoseconds kHelloTimeout = 5 * kSecond;
// Clients that are proving who they are, by a key or in TLS, all together and of one address.
inline constexpr size_t kMaxHandshakes = 256;
inline constexpr size_t kMaxHandshakesPerHost = 32;
// How long who is refused waits for the answer: guesses are slow.
inline constexpr Nanoseconds kRefusalDelay = 100 * kMillisecond;
// How long the connection stands after it, for the answer to arrive.
inline constexpr Nanoseconds kRefusalLinger = kSecond;
// How often the key file is looked at.
inline constexpr Nanoseconds kKeyFileInterval = kSecond;
// One CopyFileRange keeps a worker no longer than this takes; the count says how far it came.
inline constexpr uint64_t kMaxCopyBytes = uint64_t{64} << 20;
// Lines about misbehaving peers, per kBreachLogInterval.
inline constexpr uint32_t kBreachLogLines = 20;
inline constexpr Nanoseconds kBreachLogInterval = 10 * kSecond;

}  // namespace rdmafs::server
