// Fuzz target: any bytes as the body of any message. What is decoded encodes to the same bytes.
#include <cstring>
#include <vector>

#include "transport/base/check.h"
#include "transport/wire/messages.h"

namespace {

using namespace rdmafs::wire;

template <typename Message>
void TryBody(absl::Span<const std::byte> body) {
  Message message;
  Decoder decoder(body);
  if (!message.Code(decoder) || !decoder.AtEnd()) return;
  std::byte space[kMaxBodyBytes + 512];
  absl::Span<const std::byte> again = Encode(message, absl::MakeSpan(space));
  CHECK(again.size() == body.size());
  CHECK(body.empty() || std::memcmp(again.data(), body.data(), body.size()) == 0);
}

using Try = void (*)(absl::Span<const std::byte>);
constexpr Try kTries[] = {TryBody<HelloRequest>,       TryBody<HelloReply>,
                          TryBody<AttachRequest>,      TryBody<PingRequest>,
                          TryBody<RetireRequest>,      TryBody<EndRequest>,
                          TryBody<EntryReply>,         TryBody<AttributesReply>,
                          TryBody<CountReply>,         TryBody<LookupRequest>,
                          TryBody<GetAttrRequest>,     TryBody<SetAttrRequest>,
                          TryBody<ReadLinkRequest>,    TryBody<MkNodRequest>,
                          TryBody<MkDirRequest>,       TryBody<UnlinkRequest>,
                          TryBody<RmDirRequest>,       TryBody<SymLinkRequest>,
                          TryBody<RenameRequest>,      TryBody<LinkRequest>,
                          TryBody<AccessRequest>,      TryBody<StatFsRequest>,
                          TryBody<StatFsReply>,        TryBody<SyncFsRequest>,
                          TryBody<OpenRequest>,        TryBody<CreateRequest>,
                          TryBody<TmpFileRequest>,     TryBody<ReleaseRequest>,
                          TryBody<ReadRequest>,        TryBody<WriteRequest>,
                          TryBody<FsyncRequest>,       TryBody<FallocateRequest>,
                          TryBody<SeekRequest>,        TryBody<CopyFileRangeRequest>,
                          TryBody<ReadDirRequest>,     TryBody<GetXattrRequest>,
                          TryBody<SetXattrRequest>,    TryBody<ListXattrRequest>,
                          TryBody<RemoveXattrRequest>, TryBody<GetLockRequest>,
                          TryBody<SetLockRequest>,     TryBody<LockReply>,
                          TryBody<CancelRequest>,      TryBody<ReleaseOwnerRequest>,
                          TryBody<ForgetRequest>,      TryBody<ChallengeRequest>,
                          TryBody<ChallengeReply>,     TryBody<ProveRequest>,
                          TryBody<ProveReply>};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // A copy of exactly that size, so that a read beyond it is seen.
  std::vector<std::byte> body(size - 1);
  if (size > 1) std::memcpy(body.data(), data + 1, size - 1);
  kTries[data[0] % std::size(kTries)](body);
  if (size - 1 >= sizeof(MessageHeader)) {
    MessageHeader header;
    std::memcpy(&header, body.data(), sizeof header);
    for (bool reply : {false, true}) {
      if (FindHeaderFault(header, reply) != nullptr) continue;
      CHECK(header.size <= kMaxMessageBytes && sizeof header + header.inline_size <= header.size);
    }
  }
  return 0;
}
