// Bodies about locks, and what a client does not need any more.
#pragma once

#include "transport/wire/opcode.h"

namespace rdmafs::wire {

template <Opcode kOp>
struct LockRequest {
  static constexpr Opcode kOpcode = kOp;
  OpenId open_id = 0;
  LockRange range{};
  uint32_t flags = 0;  // LockFlags
  uint32_t reserved = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(range) && c.Fixed(flags) && c.Fixed(reserved);
  }
};
// Reply: LockReply, kUnlock when it could be had.
using GetLockRequest = LockRequest<Opcode::kGetLock>;
using SetLockRequest = LockRequest<Opcode::kSetLock>;
struct LockReply {
  LockRange range{};
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(range);
  }
};
struct CancelRequest {  // of a waiting SetLock of this connection: that one then answers EINTR
  static constexpr Opcode kOpcode = Opcode::kCancel;
  uint32_t slot = 0;
  uint32_t sequence = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(slot) && c.Fixed(sequence);
  }
};
struct ReleaseOwnerRequest {  // close(2) by a process: its fcntl locks on the file go
  static constexpr Opcode kOpcode = Opcode::kReleaseOwner;
  OpenId open_id = 0;
  uint64_t owner = 0;
  template <typename C>
  bool Code(C& c) {
    return c.Fixed(open_id) && c.Fixed(owner);
  }
};
struct ForgetRequest {  // a hint: the client no longer remembers the object (table stores free it)
  static constexpr Opcode kOpcode = Opcode::kForget;
  FileHandle handle;
  template <typename C>
  bool Code(C& c) {
    return c.Handle(handle);
  }
};

}  // namespace rdmafs::wire
