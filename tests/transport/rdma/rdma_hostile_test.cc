// The rdma transport over a real device: peers that break the protocol lose their connection only.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/transport/rdma/raw_peer.h"
#include "tests/transport/rdma/rdma_fixture.h"

namespace rdmafs {
namespace {

struct HostileMessage {
  const char* name;
  std::function<void(wire::MessageHeader&)> spoil;
  size_t sent_bytes = sizeof(wire::MessageHeader);
  bool device_decides = false;  // whether it tells us that it was the peer's fault
};

class RdmaHostileTest : public RdmaTest, public testing::WithParamInterface<HostileMessage> {};

TEST_P(RdmaHostileTest, TheConnectionIsClosedWithAReasonAndOthersGoOn) {
  TestServer server(server_side_);
  TestClient bystander(client_side_);
  ASSERT_EQ(bystander.Connect(server.endpoint()), absl::OkStatus());
  ASSERT_EQ(bystander.connection().Post(TestClient::Call(kEcho, 0, 1)), kOk);
  ASSERT_TRUE(bystander.RunUntilReceived(1));

  RawPeer raw;
  ASSERT_EQ(raw.ConnectProperly(server.endpoint()).type, RDMA_CM_EVENT_ESTABLISHED);
  wire::MessageHeader header{};
  header.size = sizeof header;
  header.opcode = kEcho;
  GetParam().spoil(header);
  std::vector<std::byte> message(std::max(GetParam().sent_bytes, sizeof header));
  std::memcpy(message.data(), &header, sizeof header);
  raw.Send(absl::MakeConstSpan(message).first(GetParam().sent_bytes));
  EXPECT_EQ(raw.Await().type, RDMA_CM_EVENT_DISCONNECTED);
  ASSERT_TRUE(server.WaitUntil([&] { return server.closed_.size() == 1; }));
  server.OnLoop([&] {
    const absl::Status& reason = server.closed_[0];
    EXPECT_TRUE(absl::IsInvalidArgument(reason) ||
                (GetParam().device_decides && absl::IsUnavailable(reason)))
        << reason;
  });

  ASSERT_EQ(bystander.connection().Post(TestClient::Call(kEcho, 0, 2)), kOk);
  EXPECT_TRUE(bystander.RunUntilReceived(2)) << bystander.closed_;
}

constexpr size_t kHeaderBytes = sizeof(wire::MessageHeader);

INSTANTIATE_TEST_SUITE_P(
    Messages, RdmaHostileTest,
    testing::Values(HostileMessage{"Empty", [](auto&) {}, 1},
                    HostileMessage{"HalfAHeader", [](auto&) {}, kHeaderBytes - 1},
                    HostileMessage{"SaysLessThanItIs", [](auto&) {}, kHeaderBytes + 8},
                    HostileMessage{"SaysMoreThanItIs", [](auto& h) { h.size += 8; }},
                    HostileMessage{"SizeOfEverything", [](auto& h) { h.size = 0xffffffff; }},
                    HostileMessage{"InlineBeyondTheMessage", [](auto& h) { h.inline_size = 1; }},
                    HostileMessage{"SlotBeyondTheCredits", [](auto& h) { h.slot = 64; }},
                    HostileMessage{"SlotBeyondAll", [](auto& h) { h.slot = 0xffff; }},
                    HostileMessage{"AReply", [](auto& h) { h.flags = wire::kFlagReply; }},
                    HostileMessage{"UnknownFlags", [](auto& h) { h.flags = 0x8000; }},
                    HostileMessage{"PayloadWithoutMemory", [](auto& h) { h.remote_size = 1; }},
                    HostileMessage{"PayloadOfEverything",
                                   [](auto& h) {
                                     h.flags = wire::kFlagSink;
                                     h.remote_size = 0xffffffff;
                                   }},
                    HostileMessage{"LongerThanAnyMessage", [](auto& h) { h.size = 8000; }, 8000},
                    HostileMessage{"AWrongKeyForAPush",
                                   [](auto& h) {
                                     h.opcode = kPushPattern;
                                     h.flags = wire::kFlagSink;
                                     h.remote_size = 4096;
                                     h.remote_address = 0x1000;
                                     h.rkey = 0x12345678;
                                   },
                                   kHeaderBytes, true},
                    HostileMessage{"AWrongKeyForAPull",
                                   [](auto& h) {
                                     h.opcode = kPullChecksum;
                                     h.flags = wire::kFlagSource;
                                     h.remote_size = 4096;
                                     h.remote_address = 0x1000;
                                     h.rkey = 0x12345678;
                                   },
                                   kHeaderBytes, true}),
    [](const auto& parameter) { return parameter.param.name; });

TEST_F(RdmaTest, AFloodBeyondTheCreditsHarmsNobodyElse) {
  TestServer server(server_side_, {.credits = 4});
  TestClient bystander(client_side_);
  ASSERT_EQ(bystander.Connect(server.endpoint()), absl::OkStatus());
  {
    RawPeer raw;
    ASSERT_EQ(raw.ConnectProperly(server.endpoint()).type, RDMA_CM_EVENT_ESTABLISHED);
    wire::MessageHeader header{};
    header.size = sizeof header;
    header.opcode = kKeep;
    for (int i = 0; i < 200; ++i) raw.Send(AsBytes(header));
    ASSERT_TRUE(
        server.WaitUntil([&] { return server.kept_.size() >= 4 || !server.closed_.empty(); }));
    server.OnLoop([&] { EXPECT_LE(server.kept_.size(), 6u); });  // credits + 2
    ASSERT_EQ(bystander.connection().Post(TestClient::Call(kEcho, 0, 2)), kOk);
    EXPECT_TRUE(bystander.RunUntilReceived(1)) << bystander.closed_;
  }
  EXPECT_TRUE(server.WaitUntil([&] { return server.closed_.size() == 1; }));
}

}  // namespace
}  // namespace rdmafs
