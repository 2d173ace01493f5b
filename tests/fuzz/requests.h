// Every request of the protocol, as a list of types, and a codec that fills one with plausible
// values.
#pragma once

#include <cstring>
#include <tuple>
#include <type_traits>

#include "transport/wire/messages.h"

namespace rdmafs::wire {

using Requests =
    std::tuple<HelloRequest, AttachRequest, PingRequest, RetireRequest, EndRequest,
               ChallengeRequest, ProveRequest, RecallRequest, LookupRequest, UnlinkRequest,
               RmDirRequest, ReadLinkRequest, StatFsRequest, SyncFsRequest, GetAttrRequest,
               SetAttrRequest, MkNodRequest, MkDirRequest, SymLinkRequest, RenameRequest,
               LinkRequest, AccessRequest, OpenRequest, CreateRequest, TmpFileRequest,
               ReleaseRequest, ReadRequest, WriteRequest, FsyncRequest, FallocateRequest,
               SeekRequest, CopyFileRangeRequest, ReadDirRequest, GetXattrRequest, SetXattrRequest,
               ListXattrRequest, RemoveXattrRequest, GetLockRequest, SetLockRequest, CancelRequest,
               ReleaseOwnerRequest, ForgetRequest>;

// Calls visit(Request()) for the type with that number, counted from 0 and round again.
template <typename Visit, size_t kIndex = 0>
void VisitRequest(size_t number, Visit visit) {
  if constexpr (kIndex == 0) number %= std::tuple_size_v<Requests>;
  if constexpr (kIndex < std::tuple_size_v<Requests>) {
    if (number == kIndex) return visit(std::tuple_element_t<kIndex, Requests>());
    VisitRequest<Visit, kIndex + 1>(number, visit);
  }
}

// Walks a message's Code() as a Decoder does: names are "new", handles the one given, 64-bit
// numbers 1.
class PlausibleFields {
 public:
  static constexpr bool kDecoding = true;
  explicit PlausibleFields(const FileHandle& handle) : handle_(handle) {}

  template <typename T>
  bool Fixed(T& value) {
    std::memset(static_cast<void*>(&value), 0, sizeof value);
    if constexpr (std::is_same_v<T, uint64_t>) value = 1;
    return true;
  }
  bool Name(std::string_view& name) {
    name = "new";
    return true;
  }
  bool Bytes(std::string_view& bytes, size_t) {
    bytes = "user.name";
    return true;
  }
  bool Handle(FileHandle& handle) {
    handle = handle_;
    return true;
  }
  bool CallerField(Caller& caller) {
    caller = Caller();
    return true;
  }

 private:
  const FileHandle handle_;
};

}  // namespace rdmafs::wire
