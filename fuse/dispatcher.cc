#include "fuse/dispatcher.h"

#include <array>

#include "fuse/handlers.h"
#include "transport/base/log.h"

namespace rdmafs::fuse {
namespace {

struct Row {
  uint32_t opcode;
  const char* name;
  Handler handler;  // nullptr: answered with ENOSYS, and the kernel does without
};

void HandleDestroy(Context& context, Request& request) { context.Answer(request.ticket, kOk); }

constexpr Row kRows[] = {
    {FUSE_LOOKUP, "LOOKUP", HandleLookup},
    {FUSE_FORGET, "FORGET", HandleForget},
    {FUSE_GETATTR, "GETATTR", HandleGetAttr},
    {FUSE_SETATTR, "SETATTR", HandleSetAttr},
    {FUSE_READLINK, "READLINK", HandleReadLink},
    {FUSE_SYMLINK, "SYMLINK", HandleSymLink},
    {FUSE_MKNOD, "MKNOD", HandleMkNod},
    {FUSE_MKDIR, "MKDIR", HandleMkDir},
    {FUSE_UNLINK, "UNLINK", HandleUnlink},
    {FUSE_RMDIR, "RMDIR", HandleRmDir},
    {FUSE_RENAME, "RENAME", HandleRename},
    {FUSE_LINK, "LINK", HandleLink},
    {FUSE_OPEN, "OPEN", HandleOpen},
    {FUSE_READ, "READ", HandleRead},
    {FUSE_WRITE, "WRITE", HandleWrite},
    {FUSE_STATFS, "STATFS", HandleStatFs},
    {FUSE_RELEASE, "RELEASE", HandleRelease},
    {FUSE_FSYNC, "FSYNC", HandleFsync},
    {FUSE_SETXATTR, "SETXATTR", HandleSetXattr},
    {FUSE_GETXATTR, "GETXATTR", HandleGetXattr},
    {FUSE_LISTXATTR, "LISTXATTR", HandleListXattr},
    {FUSE_REMOVEXATTR, "REMOVEXATTR", HandleRemoveXattr},
    {FUSE_FLUSH, "FLUSH", HandleFlush},
    {FUSE_INIT, "INIT", nullptr},
    {FUSE_OPENDIR, "OPENDIR", HandleOpenDir},
    {FUSE_READDIR, "READDIR", HandleReadDir},
    {FUSE_RELEASEDIR, "RELEASEDIR", HandleRelease},
    {FUSE_FSYNCDIR, "FSYNCDIR", HandleFsync},
    {FUSE_GETLK, "GETLK", HandleGetLock},
    {FUSE_SETLK, "SETLK", HandleSetLock},
    {FUSE_SETLKW, "SETLKW", HandleSetLock},
    {FUSE_ACCESS, "ACCESS", HandleAccess},
    {FUSE_CREATE, "CREATE", HandleCreate},
    {FUSE_INTERRUPT, "INTERRUPT", HandleInterrupt},
    {FUSE_BMAP, "BMAP", nullptr},
    {FUSE_DESTROY, "DESTROY", HandleDestroy},
    {FUSE_IOCTL, "IOCTL", nullptr},
    {FUSE_POLL, "POLL", nullptr},
    {FUSE_BATCH_FORGET, "BATCH_FORGET", HandleBatchForget},
    {FUSE_FALLOCATE, "FALLOCATE", HandleFallocate},
    {FUSE_READDIRPLUS, "READDIRPLUS", HandleReadDirPlus},
    {FUSE_RENAME2, "RENAME2", HandleRename2},
    {FUSE_LSEEK, "LSEEK", HandleSeek},
    {FUSE_COPY_FILE_RANGE, "COPY_FILE_RANGE", HandleCopyFileRange},
    {FUSE_SYNCFS, "SYNCFS", HandleSyncFs},
    {FUSE_TMPFILE, "TMPFILE", HandleTmpFile},
};

// The rows by opcode.
constexpr std::array<Row, kMaxOpcode> kTable = [] {
  std::array<Row, kMaxOpcode> table{};
  for (const Row& row : kRows) table[row.opcode] = row;
  return table;
}();

}  // namespace

const char* OpcodeName(uint32_t opcode) {
  return opcode < kMaxOpcode ? kTable[opcode].name : nullptr;
}

void Dispatcher::OnRequest(Request& request) {
  const uint32_t opcode = request.header.opcode;
  const Handler handler = opcode < kMaxOpcode ? kTable[opcode].handler : nullptr;
  if (LogEnabled(LogLevel::kDebug)) {
    const char* name = OpcodeName(opcode);
    Log(LogLevel::kDebug, "request ", request.header.unique, " ", name != nullptr ? name : "?",
        " (", opcode, ") node ", request.header.nodeid, ", ", request.header.len, " bytes, pid ",
        request.header.pid);
  }
  if (handler == nullptr) {
    context_.Answer(request.ticket, Errno(ENOSYS));
    return;
  }
  handler(context_, request);
}

Node* FindNode(Context& context, const Request& request) {
  return FindNode(context, request, request.header.nodeid);
}

Node* FindNode(Context& context, const Request& request, uint64_t node_id) {
  Node* node = context.nodes().Find(node_id);
  if (node == nullptr) context.Answer(request.ticket, Errno(ESTALE));
  return node;
}

OpenId FindOpenFile(Context& context, const Request& request, uint64_t number) {
  const OpenId open_id = UseOpenFile(context, number);
  if (open_id == 0) context.Answer(request.ticket, Errno(EBADF));
  return open_id;
}

OpenId UseOpenFile(Context& context, uint64_t number) {
  Node* dropping;
  const OpenId open_id = context.open_files().Find(number, dropping);
  if (dropping != nullptr) SeeDropped(*dropping);
  return open_id;
}

void SeeDropped(Node& node) {
  absl::MutexLock lock(&node.mutex);
  node.cache.OnDropped();
}

void AnswerMalformed(Context& context, const Request& request, const Arguments& arguments) {
  if (arguments.error() == Errno(EINVAL)) {
    Log(LogLevel::kWarning, "request ", request.header.unique, " (opcode ", request.header.opcode,
        ", ", request.header.len, " bytes) cannot be read");
  }
  context.Answer(request.ticket, arguments.error());
}

}  // namespace rdmafs::fuse
