// ServeObject: the first step of the operations that name an object and do their work on a worker.
#pragma once

#include "server/call.h"

namespace rdmafs::server {

enum class Access : bool { kReads, kChanges };

template <typename Request>
const wire::FileHandle& ObjectOf(const Request& request) {
  if constexpr (requires { request.parent; }) {
    return request.parent;
  } else {
    return request.handle;
  }
}

// Finds the export of the request's `parent` or `handle`, then goes to a worker.
template <typename Request, Access kAccess>
void ServeObject(Call& call, Call::Step work) {
  if (call.Address(ObjectOf(call.request<Request>()), kAccess == Access::kChanges))
    call.OnWorker(work);
}

}  // namespace rdmafs::server
