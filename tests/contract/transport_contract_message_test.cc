// The transport contract: messages arrive once, whole and in order, and wait for whoever is not
// ready.
#include <string>
#include <vector>

#include "tests/contract/transport_contract.h"

namespace rdmafs {

TEST_P(TransportContract, ACallAndItsReplyArriveWhole) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer inline_block = client_host.Filled(4096, 7);
  Outgoing call = Call(3);
  call.body = AsBytes("where is it?");
  call.inline_payload = inline_block.payload().first(4096);
  call.hold = inline_block;
  ASSERT_EQ(client.Post(std::move(call)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));

  const ReceivedMessage& request = server.held[0];
  EXPECT_EQ(request.header().slot, 3);
  EXPECT_EQ(request.header().sequence, sequence);
  EXPECT_EQ(request.header().opcode, 3);
  EXPECT_EQ(request.header().remote_size, 0u);
  EXPECT_EQ(AsText(request.body()), "where is it?");
  ASSERT_EQ(request.inline_payload().size(), 4096u);
  EXPECT_TRUE(HasPattern(request.inline_payload(), 7));

  Outgoing reply;
  reply.header.status = ENOENT;
  reply.body = AsBytes("not here");
  server.Answer(request.header(), std::move(reply));
  server.held.clear();
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  EXPECT_EQ(client.held[0].header().slot, 3);
  EXPECT_EQ(client.held[0].header().status, static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(client.held[0].header().credits, wire::kDefaultCredits);
  EXPECT_EQ(AsText(client.held[0].body()), "not here");
  EXPECT_TRUE(client.held[0].inline_payload().empty());
}

TEST_P(TransportContract, TheLargestMessageArrivesWhole) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  const std::string body(wire::kMaxBodyBytes, 'b');
  for (uint32_t round = 0; round < 40; ++round) {
    Buffer block = client_host.Filled(wire::kMaxInlineBytes, round);
    Outgoing call = Call(0);
    call.body = AsBytes(body);
    call.inline_payload = block.payload().first(wire::kMaxInlineBytes);
    call.hold = block;
    ASSERT_EQ(client.Post(std::move(call)), kOk);
    ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
    EXPECT_EQ(AsText(server.held[0].body()), body);
    EXPECT_TRUE(HasPattern(server.held[0].inline_payload(), round));
    const wire::MessageHeader header = server.held[0].header();
    server.held.clear();
    server.Answer(header);
    ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
    client.held.clear();
  }
}

TEST_P(TransportContract, MessagesArriveOnceAndInOrder) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  constexpr uint32_t kCalls = 4000;
  constexpr uint16_t kDepth = 48;
  std::vector<uint32_t> seen, answered;
  std::string body;
  Buffer block = client_host.Filled(4096, 1);
  Buffer answer = server_host.Filled(4096, 2);
  auto post = [&](uint16_t slot) {
    Outgoing call = Call(slot);
    body = "call " + std::to_string(call.header.sequence) +
           std::string(call.header.sequence % 97, '.');
    call.body = AsBytes(body);
    call.inline_payload = block.payload().first(call.header.sequence * 37 % 4097);
    call.hold = block;
    ASSERT_EQ(client.Post(std::move(call)), kOk);
  };
  server.on_message = [&](ContractEnd& end, ReceivedMessage request) {
    const wire::MessageHeader header = request.header();
    seen.push_back(header.sequence);
    EXPECT_EQ(AsText(request.body()),
              "call " + std::to_string(header.sequence) + std::string(header.sequence % 97, '.'));
    EXPECT_EQ(request.inline_payload().size(), header.sequence * 37 % 4097);
    EXPECT_TRUE(HasPattern(request.inline_payload(), 1));
    request.Drop();
    Outgoing reply;
    reply.inline_payload = answer.payload().first(header.sequence * 53 % 4097);
    reply.hold = answer;
    end.Answer(header, std::move(reply));
  };
  client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    const wire::MessageHeader header = reply.header();
    answered.push_back(header.sequence);
    EXPECT_EQ(reply.inline_payload().size(), header.sequence * 53 % 4097);
    EXPECT_TRUE(HasPattern(reply.inline_payload(), 2));
    reply.Drop();
    if (sequence < kCalls) post(header.slot);
  };
  for (uint16_t slot = 0; slot < kDepth; ++slot) post(slot);
  ASSERT_TRUE(Until([&] { return answered.size() == kCalls; }));
  for (uint32_t i = 0; i < kCalls; ++i) {
    ASSERT_EQ(seen[i], i + 1);
    ASSERT_EQ(answered[i], i + 1);
  }
  EXPECT_EQ(client.connection->counters().messages_sent.load(), kCalls);
  EXPECT_EQ(client.connection->counters().messages_received.load(), kCalls);
  EXPECT_EQ(server.connection->counters().messages_received.load(), kCalls);
}

TEST_P(TransportContract, TwoHundredAndFiftySixCallsMayBeInFlight) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart(wire::kMaxCredits));
  std::vector<wire::MessageHeader> waiting;
  server.on_message = [&](ContractEnd&, ReceivedMessage request) {
    waiting.push_back(request.header());
  };
  for (uint16_t slot = 0; slot < wire::kMaxCredits; ++slot) {
    ASSERT_EQ(client.Post(Call(slot)), kOk);
  }
  ASSERT_TRUE(Until([&] { return waiting.size() == wire::kMaxCredits; }));
  EXPECT_EQ(client.message_count, 0u);
  std::vector<uint16_t> answered;
  client.on_message = [&](ContractEnd&, ReceivedMessage reply) {
    answered.push_back(reply.header().slot);
  };
  for (size_t i = waiting.size(); i-- > 0;) server.Answer(waiting[i]);
  ASSERT_TRUE(Until([&] { return answered.size() == wire::kMaxCredits; }));
  for (size_t i = 0; i < answered.size(); ++i) ASSERT_EQ(answered[i], wire::kMaxCredits - 1 - i);
}

// A server keeps what it has not handled yet: up to its credits nothing is lost and nobody is cut
// off.
TEST_P(TransportContract, TheSetUpSlotTakesACallWhateverTheCreditsAre) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  Buffer sink = client_host.blocks.Take();
  ASSERT_EQ(client.Post(SinkCall(wire::kSetUpSlot, sink, 8192)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1; }));
  const wire::MessageHeader header = server.held[0].header();
  EXPECT_EQ(header.slot, wire::kSetUpSlot);
  server.held.clear();
  Buffer data = server_host.Filled(8192, 5);
  Outgoing reply;
  reply.push = data.payload().first(8192);
  reply.request_header = &header;
  reply.hold = data;
  server.Answer(header, std::move(reply));
  ASSERT_TRUE(Until([&] { return client.held.size() == 1; }));
  EXPECT_EQ(client.held[0].header().slot, wire::kSetUpSlot);
  EXPECT_TRUE(HasPattern(sink.payload().first(8192), 5));
}

TEST_P(TransportContract, AServerMayHoldAsManyMessagesAsItGaveCredits) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  std::string bodies[wire::kDefaultCredits];
  for (uint16_t slot = 0; slot < wire::kDefaultCredits; ++slot) {
    Outgoing call = Call(slot);
    bodies[slot] = "number " + std::to_string(slot) + std::string(1500, 'x');
    call.body = AsBytes(bodies[slot]);
    ASSERT_EQ(client.Post(std::move(call)), kOk);
  }
  ASSERT_TRUE(Until([&] { return server.held.size() == wire::kDefaultCredits; }));
  Rounds(3);
  for (uint16_t slot = 0; slot < wire::kDefaultCredits; ++slot) {
    EXPECT_EQ(AsText(server.held[slot].body()), bodies[slot]);
  }
  while (!server.held.empty()) {
    const wire::MessageHeader header = server.held.back().header();
    server.held.pop_back();
    server.Answer(header);
  }
  ASSERT_TRUE(Until([&] { return client.held.size() == wire::kDefaultCredits; }));
  EXPECT_EQ(client.closed_count + server.closed_count, 0u);
}

TEST_P(TransportContract, WhatIsSentBeforeTheOtherSideStartsIsNotLost) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  Start(client);
  ASSERT_EQ(client.Post(Call(0)), kOk);
  ASSERT_EQ(client.Post(Call(1)), kOk);
  Rounds(3);
  Start(server);
  ASSERT_TRUE(Until([&] { return server.held.size() == 2; }));
  EXPECT_EQ(server.held[0].header().slot, 0);
  EXPECT_EQ(server.held[1].header().slot, 1);
}

// Such a server breaks the protocol, for a reply has a call; but no side may hang or crash by it.
TEST_P(TransportContract, AServerThatSpeaksFirstIsHeardOrRefused) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  Start(server);
  Outgoing greeting;
  greeting.header.opcode = 3;
  greeting.header.flags = wire::kFlagReply;
  ASSERT_EQ(server.Post(std::move(greeting)), kOk);
  Rounds(3);
  Start(client);
  ASSERT_TRUE(Until([&] { return client.message_count + client.closed_count == 1; }));
  if (client.closed_count == 1) {
    EXPECT_TRUE(absl::IsInvalidArgument(client.reason)) << client.reason;
  }
}

TEST_P(TransportContract, TwoConnectionsOnOneLoopDoNotMix) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  ContractEnd other_client(client_host), other_server(server_host);
  ASSERT_NO_FATAL_FAILURE(Connect(other_client, other_server));
  Start(other_client);
  Start(other_server);
  Outgoing first = Call(0), second = Call(0);
  first.body = AsBytes("first");
  second.body = AsBytes("second");
  ASSERT_EQ(client.Post(std::move(first)), kOk);
  ASSERT_EQ(other_client.Post(std::move(second)), kOk);
  ASSERT_TRUE(Until([&] { return server.held.size() == 1 && other_server.held.size() == 1; }));
  EXPECT_EQ(AsText(server.held[0].body()), "first");
  EXPECT_EQ(AsText(other_server.held[0].body()), "second");
  Finish(client);
  server.held.clear();
  other_server.Answer(other_server.held[0].header());
  ASSERT_TRUE(Until([&] { return other_client.held.size() == 1 && server.closed_count == 1; }));
  Finish(other_client);
  Finish(other_server);
}

TEST_P(TransportContract, AConnectionSaysWhatItIs) {
  ASSERT_NO_FATAL_FAILURE(ConnectAndStart());
  EXPECT_EQ(client.connection->transport_name(), client_host.transport->name());
  EXPECT_FALSE(client.connection->peer().empty());
  EXPECT_FALSE(server.connection->peer().empty());
}

TEST_P(TransportContract, ConnectingToNobodyFailsWithAReason) {
  uint16_t port = 0;
  {
    auto listener = server_host.transport->Listen(GetParam().listen, {}, loop,
                                                  [](std::unique_ptr<Connection>) {});
    ASSERT_TRUE(listener.ok()) << listener.status();
    port = (*listener)->port();
    EXPECT_NE(port, 0);
  }
  Rounds(2);
  auto connection =
      client_host.transport->Connect({GetParam().connect_host, port}, {.timeout = 5 * kSecond});
  ASSERT_FALSE(connection.ok());
  EXPECT_FALSE(connection.status().message().empty());
}

}  // namespace rdmafs
