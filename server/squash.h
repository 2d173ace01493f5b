// Squash: who a caller of a client is on this server.
#pragma once

#include <cstdint>
#include <vector>

#include "server/store.h"
#include "transport/wire/types.h"

namespace rdmafs {

inline constexpr uint32_t kAnonymousId = 65534;

// exports(5): root_squash, all_squash, anonuid, anongid.
struct SquashRule {
  bool root = true;
  bool all = false;
  uint32_t anonymous_uid = kAnonymousId;
  uint32_t anonymous_gid = kAnonymousId;
  friend bool operator==(const SquashRule&, const SquashRule&) = default;
};

// Root becomes the anonymous user without groups; anyone else keeps its ids, but for group 0, which
// becomes the anonymous group. The groups are a view of the caller's, or of `kept` where one had to
// be replaced.
Identity Squash(const wire::Caller& caller, const SquashRule& rule, std::vector<uint32_t>& kept);

}  // namespace rdmafs
