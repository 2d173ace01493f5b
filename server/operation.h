// Operation: what the dispatcher knows of an opcode.
#pragma once

#include "server/call.h"
#include "transport/wire/messages.h"

namespace rdmafs::server {

struct Operation {
  wire::Opcode opcode;
  size_t index;  // < OperationCount(), for the statistics
  const char* name;
  // Decodes the body into the call; false when it is malformed.
  bool (*decode)(Call&);
  // What is wrong between the decoded request and the payload that came with it, or nullptr.
  const char* (*find_fault)(const Call&);
  // The first step. Shard thread.
  Call::Step serve;
  // Must not be done twice: its reply is kept for a replay. (Of WRITE only appends: see
  // Call::WaitForAppend.)
  bool once = false;
  // Whether a client asks after this call when the server was restarted; nullptr: never. (Appends:
  // as above.)
  bool (*recalled)(const Call&) = nullptr;
};

// nullptr for a number that names no operation.
const Operation* FindOperation(uint16_t opcode);
size_t OperationCount();

}  // namespace rdmafs::server
