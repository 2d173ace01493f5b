#include "server/operation.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/xattr.h>

#include <array>

#include "server/handlers/handlers.h"
#include "transport/auth/handshake.h"

namespace rdmafs::server {
namespace {

using wire::MessageHeader;

bool HasMemory(const MessageHeader& header) {
  return (header.flags & (wire::kFlagSource | wire::kFlagSink)) != 0;
}

// --- What may come with a request ---

template <typename Request>
const char* Nothing(const Call& call) {
  return HasMemory(call.header()) || call.header().inline_size != 0 ? "unexpected payload"
                                                                    : nullptr;
}

// A path or link target: in the message.
template <typename Request>
const char* InlineText(const Call& call) {
  if (HasMemory(call.header())) return "unexpected payload";
  const std::string_view text = call.inline_text();
  if (text.empty() || text.size() > wire::kMaxPathBytes) return "length of the path";
  return text.find('\0') != text.npos ? "NUL in a path" : nullptr;
}

// Bytes of exactly `size`, in the message or in the client's memory.
const char* FindSourceFault(const Call& call, uint32_t size) {
  const MessageHeader& header = call.header();
  if ((header.flags & wire::kFlagSink) != 0) return "memory of the wrong direction";
  if ((header.flags & wire::kFlagSource) == 0)
    return header.inline_size != size ? "payload size" : nullptr;
  return header.inline_size != 0 || header.remote_size != size ? "payload size" : nullptr;
}

// Room for `size` bytes: up to kMaxInlineBytes come with the answer, more needs the client's
// memory.
const char* FindSinkFault(const Call& call, uint32_t size, uint32_t limit) {
  const MessageHeader& header = call.header();
  if (header.inline_size != 0 || (header.flags & wire::kFlagSource) != 0)
    return "unexpected payload";
  if (size > limit) return "size over the limit";
  if (size <= wire::kMaxInlineBytes) return nullptr;
  return header.remote_size < size ? "sink smaller than the size" : nullptr;
}

// --- What the fields may say ---

template <typename Request>
const char* FindFieldFault(const Request& request) {
  if constexpr (requires { request.reserved; }) {
    if (request.reserved != 0) return "reserved field";
  }
  return nullptr;
}

template <typename Request>
const char* FindOpenFault(const Call& call) {
  if (call.request<Request>().open_id == 0) return "open id 0";
  return Nothing<Request>(call);
}

const char* FindSizedOpenFault(const Call& call) {
  const auto& request = call.request<wire::OpenRequest>();
  if (request.read_size == 0) return FindOpenFault<wire::OpenRequest>(call);
  if (request.open_id == 0) return "open id 0";
  return FindSinkFault(call, request.read_size, wire::kMaxOpenReadBytes);
}

const char* FindHelloFault(const Call& call) {
  if (call.header().slot != wire::kSetUpSlot) return "slot";
  return Nothing<wire::HelloRequest>(call);
}

const char* FindChallengeFault(const Call& call) {
  if (call.header().slot != wire::kSetUpSlot) return "slot";
  if (const char* fault = Nothing<wire::ChallengeRequest>(call)) return fault;
  return auth::ServerHandshake::FindFault(call.request<wire::ChallengeRequest>());
}

const char* FindProofFault(const Call& call) {
  if (call.header().slot != wire::kSetUpSlot) return "slot";
  return Nothing<wire::ProveRequest>(call);
}

const char* FindRecallFault(const Call& call) {
  if (call.header().slot != wire::kSetUpSlot) return "slot";
  const auto& fixed = call.request<wire::RecallRequest>().fixed;
  if (fixed.slot >= wire::kSetUpSlot || fixed.reserved != 0) return "slot";
  return Nothing<wire::RecallRequest>(call);
}

const char* FindReadFault(const Call& call) {
  return FindSinkFault(call, call.request<wire::ReadRequest>().size, wire::kMaxPayloadBytes);
}

const char* FindWriteFault(const Call& call) {
  const auto& request = call.request<wire::WriteRequest>();
  if ((request.options & ~wire::kWriteKillSuidGid) != 0) return "unknown options";
  return FindSourceFault(call, request.size);
}

const char* FindReadDirFault(const Call& call) {
  const auto& request = call.request<wire::ReadDirRequest>();
  const MessageHeader& header = call.header();
  if ((header.flags & wire::kFlagSink) == 0 || header.inline_size != 0) return "no sink";
  if (request.size > header.remote_size) return "sink smaller than the size";
  return (request.options & ~wire::kReadDirPlus) != 0 ? "unknown options" : nullptr;
}

const char* FindNameFault(std::string_view name) {
  return name.empty() || name.find('\0') != name.npos ? "attribute name" : nullptr;
}

const char* FindGetXattrFault(const Call& call) {
  const auto& request = call.request<wire::GetXattrRequest>();
  if (const char* fault = FindNameFault(request.name)) return fault;
  return FindSinkFault(call, request.size, wire::kMaxXattrBytes);
}

const char* FindListXattrFault(const Call& call) {
  return FindSinkFault(call, call.request<wire::ListXattrRequest>().size, wire::kMaxXattrBytes);
}

const char* FindSetXattrFault(const Call& call) {
  const auto& request = call.request<wire::SetXattrRequest>();
  if (const char* fault = FindNameFault(request.name)) return fault;
  const MessageHeader& header = call.header();
  const bool source = (header.flags & wire::kFlagSource) != 0;
  const uint32_t size = source ? header.remote_size : header.inline_size;
  return size > wire::kMaxXattrBytes ? "size over the limit" : FindSourceFault(call, size);
}

const char* FindRemoveXattrFault(const Call& call) {
  if (const char* fault = FindNameFault(call.request<wire::RemoveXattrRequest>().name))
    return fault;
  return Nothing<wire::RemoveXattrRequest>(call);
}

template <typename Request>
const char* FindLockFault(const Call& call) {
  const auto& request = call.request<Request>();
  if (request.range.type > wire::LockType::kUnlock) return "lock type";
  if (request.range.start > request.range.end) return "lock range";
  if ((request.flags & ~(wire::kLockWait | wire::kLockFlock)) != 0) return "unknown flags";
  return Nothing<Request>(call);
}

// --- The table ---

template <typename Request, const char* (*kFindFault)(const Call&)>
const char* FindFault(const Call& call) {
  if (const char* fault = FindFieldFault(call.request<Request>())) return fault;
  return kFindFault(call);
}

template <typename Request, const char* (*kFindFault)(const Call&) = &Nothing<Request>>
Operation Row(Call::Step serve) {
  return {Request::kOpcode,
          0,
          wire::OpcodeName(Request::kOpcode),
          [](Call& call) { return call.Decode<Request>(); },
          &FindFault<Request, kFindFault>,
          serve};
}

// One that must not be done twice.
template <typename Request, const char* (*kFindFault)(const Call&) = &Nothing<Request>>
Operation Once(Call::Step serve) {
  Operation row = Row<Request, kFindFault>(serve);
  row.once = true;
  return row;
}

// One that a client asks after in a new session, if `kIs` says so.
bool Always(const Call&) { return true; }
template <typename Request, bool (*kIs)(const Call&) = &Always,
          const char* (*kFindFault)(const Call&) = &Nothing<Request>>
Operation Recalled(Call::Step serve) {
  Operation row = Once<Request, kFindFault>(serve);
  row.recalled = kIs;
  return row;
}

bool IsExclusive(const Call& call) {
  return (call.request<wire::CreateRequest>().flags & O_EXCL) != 0;
}
bool MovesBytes(const Call& call) {
  const uint32_t mode = call.request<wire::FallocateRequest>().mode;
  return (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0;
}
bool MustBeNew(const Call& call) {
  return (call.request<wire::SetXattrRequest>().flags & XATTR_CREATE) != 0;
}

constexpr size_t kOpcodeCount = 71;  // the largest number and one

std::array<Operation, kOpcodeCount> MakeTable() {
  std::array<Operation, kOpcodeCount> table{};
  size_t index = 0;
  for (const Operation& row : {
           Row<wire::HelloRequest, FindHelloFault>(ServeHello),
           Row<wire::AttachRequest, InlineText<wire::AttachRequest>>(ServeAttach),
           Row<wire::PingRequest>(ServePing),
           Row<wire::RetireRequest>(ServeRetire),
           Row<wire::EndRequest>(ServeEnd),
           Row<wire::ChallengeRequest, FindChallengeFault>(ServeChallenge),
           Row<wire::ProveRequest, FindProofFault>(ServeProve),
           Row<wire::RecallRequest, FindRecallFault>(ServeRecall),
           Row<wire::LookupRequest>(ServeLookup),
           Row<wire::GetAttrRequest>(ServeGetAttr),
           Once<wire::SetAttrRequest>(ServeSetAttr),
           Row<wire::ReadLinkRequest>(ServeReadLink),
           Recalled<wire::MkNodRequest>(ServeMkNod),
           Recalled<wire::MkDirRequest>(ServeMkDir),
           Recalled<wire::UnlinkRequest>(ServeUnlink),
           Recalled<wire::RmDirRequest>(ServeRmDir),
           Recalled<wire::SymLinkRequest, Always, InlineText<wire::SymLinkRequest>>(ServeSymLink),
           Recalled<wire::RenameRequest>(ServeRename),
           Recalled<wire::LinkRequest>(ServeLink),
           Row<wire::AccessRequest>(ServeAccess),
           Row<wire::StatFsRequest>(ServeStatFs),
           Once<wire::OpenRequest, FindSizedOpenFault>(ServeOpen),
           Recalled<wire::CreateRequest, IsExclusive, FindOpenFault<wire::CreateRequest>>(
               ServeCreate),
           Once<wire::TmpFileRequest, FindOpenFault<wire::TmpFileRequest>>(ServeTmpFile),
           Once<wire::ReleaseRequest>(ServeRelease),
           Row<wire::ReadRequest, FindReadFault>(ServeRead),
           Row<wire::WriteRequest, FindWriteFault>(ServeWrite),
           Row<wire::FsyncRequest>(ServeFsync),
           Recalled<wire::FallocateRequest, MovesBytes>(ServeFallocate),
           Row<wire::SeekRequest>(ServeSeek),
           Once<wire::CopyFileRangeRequest>(ServeCopyFileRange),
           Row<wire::ReadDirRequest, FindReadDirFault>(ServeReadDir),
           Row<wire::SyncFsRequest>(ServeSyncFs),
           Row<wire::GetXattrRequest, FindGetXattrFault>(ServeGetXattr),
           Recalled<wire::SetXattrRequest, MustBeNew, FindSetXattrFault>(ServeSetXattr),
           Row<wire::ListXattrRequest, FindListXattrFault>(ServeListXattr),
           Recalled<wire::RemoveXattrRequest, Always, FindRemoveXattrFault>(ServeRemoveXattr),
           Row<wire::GetLockRequest, FindLockFault<wire::GetLockRequest>>(ServeGetLock),
           Once<wire::SetLockRequest, FindLockFault<wire::SetLockRequest>>(ServeSetLock),
           Row<wire::CancelRequest>(ServeCancel),
           Once<wire::ReleaseOwnerRequest>(ServeReleaseOwner),
           Once<wire::ForgetRequest>(ServeForget),
       }) {
    Operation& place = table[static_cast<size_t>(row.opcode)];
    place = row;
    place.index = index++;
  }
  return table;
}

}  // namespace

const Operation* FindOperation(uint16_t opcode) {
  static const std::array<Operation, kOpcodeCount> table = MakeTable();
  if (opcode >= table.size() || table[opcode].serve == nullptr) return nullptr;
  return &table[opcode];
}

size_t OperationCount() { return wire::AllOpcodes().size(); }

}  // namespace rdmafs::server
