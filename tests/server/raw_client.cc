#include "tests/server/raw_client.h"

#include <cstring>

namespace rdmafs::server {

template <typename Condition>
void RawClient::RunUntil(Condition condition) {
  const Nanoseconds deadline = clock_.Now() + 20 * kSecond;
  while (!condition()) {
    CHECK(clock_.Now() < deadline);
    loop_.RunOnce(10 * kMillisecond);
  }
}

RawClient::RawClient(Transport& transport, BufferPool& messages, uint16_t port)
    : messages_(messages) {
  auto connection = transport.Connect({"127.0.0.1", port}, ConnectionOptions{});
  CHECK(connection.ok());
  connection_ = std::move(*connection);
  connection_->Start(loop_, *this);
}

RawClient::~RawClient() {
  if (!closed_) Close();
  AwaitClosed();
}

void RawClient::SendBody(wire::Opcode opcode, absl::Span<const std::byte> body, uint16_t slot,
                         Payload payload) {
  wire::MessageHeader header{};
  header.opcode = static_cast<uint16_t>(opcode);
  header.slot = slot;
  header.sequence = ++sequences_[slot];
  if (!payload.exposed.empty()) header.flags = payload.sink ? wire::kFlagSink : wire::kFlagSource;
  SendRaw(header, body, std::move(payload));
}

void RawClient::SendRaw(wire::MessageHeader header, absl::Span<const std::byte> body,
                        Payload payload) {
  Outgoing out;
  out.header = header;
  out.body = body;
  out.exposed = payload.exposed;
  out.hold = std::move(payload.hold);
  if (!payload.inline_payload.empty()) {
    out.hold = messages_.Take();
    std::memcpy(out.hold.data(), payload.inline_payload.data(), payload.inline_payload.size());
    out.inline_payload = out.hold.payload().first(payload.inline_payload.size());
  }
  Errno posted = connection_->Post(std::move(out));
  CHECK(posted.ok() || posted == Errno(ENOTCONN));
  loop_.RunOnce(0);  // its end is where messages are sent
}

RawClient::Answer RawClient::Wait(uint16_t slot) {
  RunUntil([&] { return answers_.contains(slot) || closed_; });
  CHECK(answers_.contains(slot));
  return std::move(answers_.extract(slot).mapped());
}

RawClient::Answer RawClient::ComeBackAs(const RawClient& lost, uint32_t epoch) {
  sequences_ = lost.sequences_;
  sequences_.erase(wire::kSetUpSlot);
  return Hello(lost.session[0], lost.session[1], 0, epoch);
}

RawClient::Answer RawClient::Hello(uint64_t session0, uint64_t session1, uint16_t channel,
                                   uint32_t epoch) {
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic,           wire::kVersion, channel,
                 wire::kMaxPayloadBytes, epoch,          {session0, session1}};
  Answer answer = Ask(hello, {}, wire::kSetUpSlot);
  if (answer.status().ok()) {
    const auto reply = answer.Decode<wire::HelloReply>();
    session[0] = reply.fixed.session[0];
    session[1] = reply.fixed.session[1];
  }
  return answer;
}

wire::FileHandle RawClient::Enter() {
  CHECK(Hello().status().ok());
  Answer answer = Ask(wire::AttachRequest{}, {.inline_payload = "/export"}, wire::kSetUpSlot);
  CHECK(answer.status().ok());
  return answer.Decode<wire::EntryReply>().handle;
}

wire::FileHandle RawClient::Lookup(const wire::FileHandle& root, std::string_view name) {
  Answer answer = Ask(wire::LookupRequest{{}, root, name});
  CHECK(answer.status().ok());
  return answer.Decode<wire::EntryReply>().handle;
}

Errno RawClient::Open(const wire::FileHandle& handle, wire::OpenId id, uint32_t flags) {
  return Ask(wire::OpenRequest{{}, handle, id, flags}).status();
}

void RawClient::AwaitClosed() {
  RunUntil([&] { return closed_; });
}

void RawClient::OnMessage(Connection&, ReceivedMessage message) {
  Answer answer;
  answer.header = message.header();
  answer.body.assign(message.body().begin(), message.body().end());
  const auto payload = message.inline_payload();
  answer.inline_payload.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
  answers_[answer.header.slot] = std::move(answer);
}

}  // namespace rdmafs::server
