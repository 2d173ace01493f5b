#include "transport/rdma/work_completion.h"

#include "absl/strings/str_cat.h"

namespace rdmafs::rdma {
namespace {

absl::StatusCode CodeOf(ibv_wc_status status, bool receive) {
  switch (status) {
    // An RDMA_READ or RDMA_WRITE that the client's rkey does not allow. (Soft-iWARP does not tell:
    // it says LOC_QP_OP_ERR, or only that the peer closed.)
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
      return absl::StatusCode::kInvalidArgument;
    // Receives are registered and large enough: a message was longer than any may be.
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_QP_OP_ERR:
      return receive ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kUnavailable;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR:
      return absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

const char* Meaning(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_RETRY_EXC_ERR:
      return " (the peer does not answer)";
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return " (the peer posts no receives)";
    default:
      return "";
  }
}

}  // namespace

absl::Status ReasonOf(const ibv_wc& completion, const char* opcode, const std::string& peer) {
  const bool receive = absl::string_view(opcode) == "RECV";
  return absl::Status(
      CodeOf(completion.status, receive),
      absl::StrCat(peer, ": ", opcode, " failed: ", ibv_wc_status_str(completion.status),
                   Meaning(completion.status), ", wc status ", static_cast<int>(completion.status),
                   ", vendor ", completion.vendor_err));
}

}  // namespace rdmafs::rdma
