// The transport contract with a thread for each side, as a mount and its server have them.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "tests/contract/transport_contract.h"

namespace rdmafs {
namespace {

constexpr uint32_t kCalls = 1500;
constexpr uint16_t kDepth = 32;
constexpr size_t kPayloadBytes = 64 << 10;

// Answers reads out of a pattern, and takes writes in.
void Serve(ContractEnd& end, ReceivedMessage request) {
  const wire::MessageHeader header = request.header();
  if ((header.flags & wire::kFlagSource) != 0) {
    Buffer destination = end.host.blocks.Take();
    auto kept = std::make_shared<ReceivedMessage>(std::move(request));
    end.Pull(*kept, destination.payload().first(header.remote_size), destination,
             [&end, kept, destination, header](Result<Connection::Pulled> result) {
               if (!result.ok()) return;
               EXPECT_TRUE(HasPattern(result->head, 1));
               EXPECT_TRUE(HasPattern(result->rest, 1, result->head.size()));
               kept->Drop();
               end.Answer(header);
             });
    return;
  }
  request.Drop();
  Outgoing reply;
  if ((header.flags & wire::kFlagSink) != 0) {
    reply.hold = end.host.Filled(header.remote_size, 2);
    reply.push = reply.hold.payload().first(header.remote_size);
  }
  end.Answer(header, std::move(reply));
}

}  // namespace

TEST_P(TransportContract, EachSideMayHaveItsOwnThread) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  EventLoop server_loop(clock);
  server.on_message = Serve;
  server.on_closed = [&] { server_loop.Stop(); };
  server.started = client.started = true;
  server.connection->Start(server_loop, server);
  std::thread server_thread([&] { server_loop.Run(); });

  std::vector<Buffer> sinks(kDepth);
  size_t replies = 0;
  auto post = [&](uint16_t slot) {
    const uint32_t next = sequence + 1;
    if (next % 3 == 0) {
      sinks[slot] = client_host.blocks.Take();
      ASSERT_EQ(client.Post(SinkCall(slot, sinks[slot], kPayloadBytes)), kOk);
    } else if (next % 3 == 1) {
      ASSERT_EQ(client.Post(SourceCall(slot, client_host.Filled(kPayloadBytes, 1), kPayloadBytes)),
                kOk);
    } else {
      ASSERT_EQ(client.Post(Call(slot)), kOk);
    }
  };
  client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    const wire::MessageHeader header = reply.header();
    if (header.sequence % 3 == 0) {
      EXPECT_TRUE(HasPattern(sinks[header.slot].payload().first(kPayloadBytes), 2));
      sinks[header.slot] = Buffer();
    }
    ++replies;
    reply.Drop();
    if (sequence < kCalls) post(header.slot);
  };
  client.connection->Start(loop, client);
  for (uint16_t slot = 0; slot < kDepth; ++slot) post(slot);
  EXPECT_TRUE(Until([&] { return replies == kCalls; }));

  client.Close();
  EXPECT_TRUE(Until([&] { return client.closed_count == 1; }));
  server_thread.join();
  EXPECT_EQ(server.closed_count, 1u);
  server.connection.reset();
  EXPECT_EQ(client_host.blocks_used(), 0u);
  EXPECT_EQ(server_host.blocks_used(), 0u);
}

}  // namespace rdmafs
