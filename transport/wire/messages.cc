#include "transport/wire/messages.h"

namespace rdmafs::wire {
namespace {

struct Row {
  Opcode opcode;
  const char* name;
};
constexpr Row kRows[] = {
    {Opcode::kHello, "HELLO"},
    {Opcode::kAttach, "ATTACH"},
    {Opcode::kPing, "PING"},
    {Opcode::kRetire, "RETIRE"},
    {Opcode::kEnd, "END"},
    {Opcode::kChallenge, "CHALLENGE"},
    {Opcode::kProve, "PROVE"},
    {Opcode::kRecall, "RECALL"},
    {Opcode::kLookup, "LOOKUP"},
    {Opcode::kGetAttr, "GETATTR"},
    {Opcode::kSetAttr, "SETATTR"},
    {Opcode::kReadLink, "READLINK"},
    {Opcode::kMkNod, "MKNOD"},
    {Opcode::kMkDir, "MKDIR"},
    {Opcode::kUnlink, "UNLINK"},
    {Opcode::kRmDir, "RMDIR"},
    {Opcode::kSymLink, "SYMLINK"},
    {Opcode::kRename, "RENAME"},
    {Opcode::kLink, "LINK"},
    {Opcode::kAccess, "ACCESS"},
    {Opcode::kStatFs, "STATFS"},
    {Opcode::kOpen, "OPEN"},
    {Opcode::kCreate, "CREATE"},
    {Opcode::kTmpFile, "TMPFILE"},
    {Opcode::kRelease, "RELEASE"},
    {Opcode::kRead, "READ"},
    {Opcode::kWrite, "WRITE"},
    {Opcode::kFsync, "FSYNC"},
    {Opcode::kFallocate, "FALLOCATE"},
    {Opcode::kSeek, "SEEK"},
    {Opcode::kCopyFileRange, "COPYFILERANGE"},
    {Opcode::kReadDir, "READDIR"},
    {Opcode::kSyncFs, "SYNCFS"},
    {Opcode::kGetXattr, "GETXATTR"},
    {Opcode::kSetXattr, "SETXATTR"},
    {Opcode::kListXattr, "LISTXATTR"},
    {Opcode::kRemoveXattr, "REMOVEXATTR"},
    {Opcode::kGetLock, "GETLOCK"},
    {Opcode::kSetLock, "SETLOCK"},
    {Opcode::kCancel, "CANCEL"},
    {Opcode::kReleaseOwner, "RELEASEOWNER"},
    {Opcode::kForget, "FORGET"},
};
constexpr size_t kRowCount = std::size(kRows);

constexpr std::array<Opcode, kRowCount> kOpcodes = [] {
  std::array<Opcode, kRowCount> opcodes{};
  for (size_t i = 0; i < kRowCount; ++i) opcodes[i] = kRows[i].opcode;
  return opcodes;
}();

}  // namespace

const char* OpcodeName(Opcode opcode) {
  for (const Row& row : kRows) {
    if (row.opcode == opcode) return row.name;
  }
  return nullptr;
}

absl::Span<const Opcode> AllOpcodes() { return kOpcodes; }

}  // namespace rdmafs::wire
