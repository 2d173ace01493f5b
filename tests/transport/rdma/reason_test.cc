// What connections say that they died of: rdma_cm's events, failed work completions, memlock.
#include <gtest/gtest.h>

#include <cstring>

#include "transport/rdma/cm_event.h"
#include "transport/rdma/handshake.h"
#include "transport/rdma/memlock.h"
#include "transport/rdma/work_completion.h"

namespace rdmafs::rdma {
namespace {

TEST(CmEventReason, EveryEventThatEndsAConnectionHasAReasonWithThePeersName) {
  struct {
    rdma_cm_event_type type;
    int status;
    const char* text;
  } const cases[] = {
      {RDMA_CM_EVENT_ADDR_ERROR, -ENODEV, "no RDMA device"},
      {RDMA_CM_EVENT_ROUTE_ERROR, -EHOSTUNREACH, "no route"},
      {RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, "ETIMEDOUT"},
      {RDMA_CM_EVENT_CONNECT_ERROR, -ECONNRESET, "cannot connect"},
      {RDMA_CM_EVENT_REJECTED, 8, "refused"},
      {RDMA_CM_EVENT_REJECTED, -ECONNREFUSED, "refused"},
      {RDMA_CM_EVENT_REJECTED, 28, "gave no reason"},
      {RDMA_CM_EVENT_REJECTED, 3, "status 3"},
      {RDMA_CM_EVENT_DISCONNECTED, 0, "closed the connection"},
      {RDMA_CM_EVENT_DEVICE_REMOVAL, 0, "removed"},
      {RDMA_CM_EVENT_ADDR_CHANGE, 0, "address changed"},
      {RDMA_CM_EVENT_TIMEWAIT_EXIT, 0, "ended"},
      {RDMA_CM_EVENT_MULTICAST_ERROR, 1, "MULTICAST"},
  };
  for (const auto& c : cases) {
    CmEvent event;
    event.type = c.type;
    event.status = c.status;
    const absl::Status reason = ReasonOf(event, "10.0.0.1:1");
    EXPECT_TRUE(absl::IsUnavailable(reason)) << reason;
    EXPECT_NE(reason.message().find("10.0.0.1:1"), absl::string_view::npos) << reason;
    EXPECT_NE(reason.message().find(c.text), absl::string_view::npos) << reason;
  }
}

TEST(CmEventReason, ARejectionsPrivateDataIsReported) {
  CmEvent event;
  event.type = RDMA_CM_EVENT_REJECTED;
  event.status = 28;
  const Rejection rejection{.refusal = static_cast<uint16_t>(Refusal::kNoMemory)};
  std::memcpy(event.bytes.data(), &rejection, sizeof rejection);
  event.size_bytes = sizeof rejection;
  EXPECT_NE(ReasonOf(event, "p").message().find(RefusalText(Refusal::kNoMemory)),
            absl::string_view::npos);
}

TEST(WorkCompletionReason, TheCodeSaysWhoseFaultItIsAndTheTextNamesStatusAndOpcode) {
  struct {
    ibv_wc_status status;
    const char* opcode;
    absl::StatusCode code;
  } const cases[] = {
      {IBV_WC_REM_ACCESS_ERR, "RDMA_READ", absl::StatusCode::kInvalidArgument},
      {IBV_WC_REM_INV_REQ_ERR, "RDMA_WRITE and SEND", absl::StatusCode::kInvalidArgument},
      {IBV_WC_LOC_LEN_ERR, "RECV", absl::StatusCode::kInvalidArgument},
      {IBV_WC_LOC_QP_OP_ERR, "RECV", absl::StatusCode::kInvalidArgument},
      {IBV_WC_LOC_QP_OP_ERR, "RDMA_WRITE and SEND", absl::StatusCode::kUnavailable},
      {IBV_WC_LOC_PROT_ERR, "SEND", absl::StatusCode::kInternal},
      {IBV_WC_RETRY_EXC_ERR, "SEND", absl::StatusCode::kUnavailable},
      {IBV_WC_RNR_RETRY_EXC_ERR, "SEND", absl::StatusCode::kUnavailable},
      {IBV_WC_FATAL_ERR, "SEND", absl::StatusCode::kUnavailable},
  };
  for (const auto& c : cases) {
    ibv_wc completion{};
    completion.status = c.status;
    const absl::Status reason = ReasonOf(completion, c.opcode, "peer");
    EXPECT_EQ(reason.code(), c.code) << reason;
    EXPECT_NE(reason.message().find(c.opcode), absl::string_view::npos) << reason;
    EXPECT_NE(reason.message().find(ibv_wc_status_str(c.status)), absl::string_view::npos)
        << reason;
  }
}

TEST(Memlock, TheAdviceNamesTheBytesAndWhereToSetThem) {
  const size_t arena = size_t{1} << 30;
  const std::string advice = MemlockAdvice(arena);
  EXPECT_GE(MemlockNeeded(arena), 3 * arena);
  EXPECT_NE(advice.find(std::to_string(MemlockNeeded(arena) / 1024)), std::string::npos);
  EXPECT_NE(advice.find("limits.conf"), std::string::npos);
  EXPECT_NE(advice.find("LimitMEMLOCK"), std::string::npos);
}

}  // namespace
}  // namespace rdmafs::rdma
