// Whether the calls in whose middle a process ended were done: from what was noted before and what
// there is now.
#pragma once

#include <functional>

#include "server/recall_log.h"
#include "server/store.h"

namespace rdmafs::server {

// nullptr: that export is gone.
using StoreOf = std::function<Store*(uint32_t export_id)>;

// At the start of a process, before anybody is served. A call is done when the store shows what
// only it can have done: what it removed or moved is not there or is where it would be, what it
// made is new since the call began and untouched, what it appended stands at the old end. It was
// never begun when the store is as it was. Else it stays undecided. A process of this host that
// does the very same to the same name, as the same user, within a second of the call cannot be told
// from it. Blocks, and takes on identities: for a thread of its own.
void DecideCallsInDoubt(RecallLog& log, const StoreOf& store_of);

}  // namespace rdmafs::server
