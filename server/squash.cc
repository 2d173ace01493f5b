#include "server/squash.h"

#include <algorithm>

namespace rdmafs {

Identity Squash(const wire::Caller& caller, const SquashRule& rule, std::vector<uint32_t>& kept) {
  if (rule.all || (rule.root && caller.uid == 0)) {
    return {rule.anonymous_uid, rule.anonymous_gid, caller.umask, {}};
  }
  Identity identity{caller.uid, caller.gid, caller.umask, caller.groups};
  if (!rule.root) return identity;
  if (identity.gid == 0) identity.gid = rule.anonymous_gid;
  if (std::find(caller.groups.begin(), caller.groups.end(), 0u) != caller.groups.end()) {
    kept.assign(caller.groups.begin(), caller.groups.end());
    std::replace(kept.begin(), kept.end(), uint32_t{0}, rule.anonymous_gid);
    identity.groups = kept;
  }
  return identity;
}

}  // namespace rdmafs
