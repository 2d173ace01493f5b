// Opcode: what a message is about. Numbers are never reused.
#pragma once

#include "transport/wire/codec.h"

namespace rdmafs::wire {

enum class Opcode : uint16_t {
  kHello = 1,
  kAttach = 2,
  kPing = 3,
  kRetire = 4,
  kEnd = 5,
  kChallenge = 6,
  kProve = 7,
  kRecall = 8,
  kLookup = 10,
  kGetAttr = 11,
  kSetAttr = 12,
  kReadLink = 13,
  kMkNod = 14,
  kMkDir = 15,
  kUnlink = 16,
  kRmDir = 17,
  kSymLink = 18,
  kRename = 19,
  kLink = 20,
  kAccess = 21,
  kStatFs = 22,
  kOpen = 30,
  kCreate = 31,
  kTmpFile = 32,
  kRelease = 33,
  kRead = 34,
  kWrite = 35,
  kFsync = 36,
  kFallocate = 37,
  kSeek = 38,
  kCopyFileRange = 39,
  kReadDir = 40,
  kSyncFs = 41,
  kGetXattr = 50,
  kSetXattr = 51,
  kListXattr = 52,
  kRemoveXattr = 53,
  kGetLock = 60,
  kSetLock = 61,
  kCancel = 62,
  kReleaseOwner = 63,
  kForget = 70,
};
// "LOOKUP"; nullptr for a number that names no operation.
const char* OpcodeName(Opcode opcode);
// All of them, in the order of their numbers.
absl::Span<const Opcode> AllOpcodes();

}  // namespace rdmafs::wire
