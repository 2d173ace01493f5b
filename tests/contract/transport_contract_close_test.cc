// The transport contract: the end of a connection, from both sides and at each stage.
#include "tests/contract/transport_contract.h"

namespace rdmafs {

TEST_P(TransportContract, BothSidesHearOfACloseOnce) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  client.Close(absl::CancelledError("enough"));
  client.Close(absl::InternalError("a second reason"));
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_TRUE(absl::IsCancelled(client.reason)) << client.reason;
  EXPECT_TRUE(absl::IsUnavailable(server.reason)) << server.reason;
  EXPECT_FALSE(server.reason.message().empty());
  Rounds(5);
  EXPECT_EQ(client.closed_count, 1u);
  EXPECT_EQ(server.closed_count, 1u);
}

TEST_P(TransportContract, AServerMayCloseAsWell) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  server.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_TRUE(absl::IsCancelled(server.reason)) << server.reason;
  EXPECT_TRUE(absl::IsUnavailable(client.reason)) << client.reason;
}

TEST_P(TransportContract, ACloseBeforeStartIsHeardAfterIt) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  client.Close();
  Start(client);
  Start(server);
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_TRUE(absl::IsCancelled(client.reason)) << client.reason;
}

TEST_P(TransportContract, APeerMayVanishBeforeItStarts) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  Start(client);
  ASSERT_EQ(client.Post(SinkCall(0, client_host.blocks.Take(), 8192)), kOk);
  server.connection.reset();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1; }));
  EXPECT_TRUE(absl::IsUnavailable(client.reason)) << client.reason;
  EXPECT_EQ(client_host.blocks_used(), 0u);
}

TEST_P(TransportContract, AClientMayVanishBeforeTheServerStarts) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  client.connection.reset();
  Rounds(2);
  Start(server);
  ASSERT_TRUE(Until([&] { return server.closed_count == 1; }));
  EXPECT_TRUE(absl::IsUnavailable(server.reason)) << server.reason;
}

TEST_P(TransportContract, EveryHoldIsGoneWhenAClientClosesWithCallsInFlight) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (uint16_t slot = 0; slot < 8; ++slot) {
    ASSERT_EQ(client.Post(SinkCall(slot, client_host.blocks.Take(), 4096)), kOk);
  }
  ASSERT_TRUE(Until([&] { return server.held.size() == 8; }));
  EXPECT_EQ(client_host.blocks_used(), 8u);
  uint64_t used_when_closed = 99;
  client.on_closed = [&] { used_when_closed = client_host.blocks_used(); };
  client.Close();
  EXPECT_EQ(client.closed_count, 0u);
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(used_when_closed, 0u);
}

TEST_P(TransportContract, EveryHoldIsGoneWhenAServerClosesWithCallsInFlight) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  for (uint16_t slot = 0; slot < 8; ++slot) {
    ASSERT_EQ(client.Post(SinkCall(slot, client_host.blocks.Take(), 1 << 20)), kOk);
  }
  ASSERT_TRUE(Until([&] { return server.held.size() == 8; }));
  uint64_t client_used = 99, server_used = 99;
  client.on_closed = [&] { client_used = client_host.blocks_used(); };
  server.on_closed = [&] { server_used = server_host.blocks_used(); };
  for (const ReceivedMessage& request : server.held) {
    Outgoing reply;
    reply.hold = server_host.Filled(1 << 20, 1);
    reply.push = reply.hold.payload();
    server.Answer(request.header(), std::move(reply));
  }
  server.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(client_used, 0u);
  EXPECT_EQ(server_used, 0u);
}

TEST_P(TransportContract, AClientThatVanishesDuringAPullLeavesNoHold) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(1 << 20, 2), 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  client.Close();
  Buffer destination = server_host.blocks.Take();
  absl::Span<std::byte> room = destination.payload();
  size_t completed = 0;
  uint64_t used_when_closed = 99;
  server.on_closed = [&] {
    EXPECT_EQ(completed, 1u) << "OnClosed before the Pull was completed";
    used_when_closed = server_host.blocks_used();
  };
  server.Pull(server.held[0], room, std::move(destination), [&](Result<Connection::Pulled> result) {
    ++completed;
    if (result.ok()) {
      EXPECT_TRUE(HasPattern(result->head, 2));
      EXPECT_TRUE(HasPattern(result->rest, 2, result->head.size()));
    } else {
      EXPECT_EQ(result.error(), Errno(ENOTCONN));
    }
  });
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(used_when_closed, 0u);
  EXPECT_EQ(client_host.blocks_used(), 0u);
}

TEST_P(TransportContract, AServerThatClosesDuringItsPullGetsItCompletedFirst) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(1 << 20, 2), 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  Buffer destination = server_host.blocks.Take();
  size_t completed = 0;
  server.on_closed = [&] { EXPECT_EQ(completed, 1u); };
  server.Pull(server.held[0], destination.payload(), destination,
              [&](Result<Connection::Pulled>) { ++completed; });
  server.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(completed, 1u);
  EXPECT_EQ(client_host.blocks_used(), 0u);
}

TEST_P(TransportContract, PostAndPullAfterACloseSayENOTCONN) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  ASSERT_EQ(client.Post(SourceCall(0, client_host.Filled(4096, 2), 4096)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  client.Close();
  server.Close();
  EXPECT_EQ(client.Post(Call(1)), Errno(ENOTCONN));
  Outgoing reply;
  reply.header = server.held[0].header();
  reply.header.flags = wire::kFlagReply;
  EXPECT_EQ(server.Post(std::move(reply)), Errno(ENOTCONN));
  Errno pulled;
  Buffer destination = server_host.blocks.Take();
  server.Pull(server.held[0], destination.payload().first(4096), destination,
              [&](Result<Connection::Pulled> result) { pulled = result.error(); });
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(pulled, Errno(ENOTCONN));
  EXPECT_EQ(client.Post(Call(2)), Errno(ENOTCONN));
}

TEST_P(TransportContract, AHandlerMayDestroyItsConnectionInOnClosed) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  client.destroy_when_closed = true;
  server.destroy_when_closed = true;
  ASSERT_EQ(client.Post(SinkCall(0, client_host.blocks.Take(), 8192)), kOk);
  server.on_message = [](ContractEnd& end, ReceivedMessage) { end.Close(); };
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  Rounds(5);
  EXPECT_EQ(client.connection, nullptr);
  EXPECT_EQ(server.connection, nullptr);
  EXPECT_EQ(client_host.blocks_used(), 0u);
}

TEST_P(TransportContract, AHandlerMayCloseWhileMoreMessagesAreWaiting) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  server.on_message = [](ContractEnd& end, ReceivedMessage) { end.Close(); };
  for (uint16_t slot = 0; slot < 16; ++slot) ASSERT_EQ(client.Post(Call(slot)), kOk);
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_EQ(server.message_count, 1u);
}

TEST_P(TransportContract, AMessageMayOutliveOnClosed) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer block = client_host.Filled(4096, 3);
  Outgoing call = Call(0);
  call.inline_payload = block.payload().first(4096);
  call.hold = block;
  ASSERT_EQ(client.Post(std::move(call)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  client.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
  EXPECT_TRUE(HasPattern(server.held[0].inline_payload(), 3));
  server.held.clear();
}

TEST_P(TransportContract, AReplyThatWasSentBeforeACloseOfItsSenderMayArriveButNeverInPart) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.blocks.Take();
  ASSERT_EQ(client.Post(SinkCall(0, sink, 1 << 20)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  client.on_message = [&](ContractEnd&, ReceivedMessage) {
    EXPECT_TRUE(HasPattern(sink.payload(), 8));
  };
  Outgoing reply;
  reply.hold = server_host.Filled(1 << 20, 8);
  reply.push = reply.hold.payload();
  server.Answer(server.held[0].header(), std::move(reply));
  Rounds(1);
  server.Close();
  ASSERT_TRUE(Until([&] { return client.closed_count == 1 && server.closed_count == 1; }));
}

}  // namespace rdmafs
