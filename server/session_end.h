// EndSession: what happens when a session's last connection is gone.
#pragma once

#include <memory>

#include "server/server_context.h"
#include "server/session.h"

namespace rdmafs::server {

// Its locks go at once; its files are closed by a worker, as close(2) may block. Any thread.
void EndSession(const ServerContext& context, const std::shared_ptr<Session>& session);

}  // namespace rdmafs::server
