// Dispatcher: hands each request to its handler.
#pragma once

#include "fuse/context.h"
#include "fuse/request.h"
#include "transport/base/unique_function.h"

namespace rdmafs::fuse {

// "READ"; nullptr for a number that names no request.
const char* OpcodeName(uint32_t opcode);

// Owned by one shard thread.
class Dispatcher final : public RequestSink {
 public:
  // `on_closed` is called once, when no request comes any more.
  Dispatcher(Context& context, UniqueFunction<void(Errno)> on_closed)
      : context_(context), on_closed_(std::move(on_closed)) {}

  void OnRequest(Request& request) override;
  void OnClosed(Errno reason) override { on_closed_(reason); }

 private:
  Context& context_;
  UniqueFunction<void(Errno)> on_closed_;
};

}  // namespace rdmafs::fuse
