// EndSession: what happens when a session's client is gone for good: it said so, or its lease is
// over.
#pragma once

#include <memory>

#include "server/server_context.h"
#include "server/session.h"

namespace rdmafs::server {

// Its locks go at once; its files are closed by a worker, as close(2) may block; it leaves the
// table with its last call. After Session::BeginEnd() was true. Any thread.
void EndSession(const ServerContext& context, const std::shared_ptr<Session>& session);

}  // namespace rdmafs::server
