// What no client of ours would send: each ends its own connection, with a reason, and nothing else.
#include <fcntl.h>

#include <functional>

#include "server/operation.h"
#include "tests/server/server_fixture.h"

namespace rdmafs::server {
namespace {

class DispatcherTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    store_->Put("f", std::string(100000, 'x'));
    bystander_ = Connect();
    root_ = bystander_->Enter();
    file_ = bystander_->Lookup(root_, "f");
  }

  // A connection that has entered and opened the file as 5 (read and write).
  std::unique_ptr<RawClient> Entered() {
    auto client = Connect();
    client->Enter();
    EXPECT_EQ(client->Open(file_, 5, O_RDWR), kOk);
    return client;
  }

  // The connection is closed for it, the reason is logged, and others do not notice.
  void ExpectClosed(RawClient& client) {
    client.AwaitClosed();
    EXPECT_EQ(Breaches(), ++expected_breaches_) << client.close_reason;
    EXPECT_EQ(bystander_->Ask(wire::GetAttrRequest{{}, file_}).status(), kOk);
  }

  std::unique_ptr<RawClient> bystander_;
  wire::FileHandle root_, file_;
  uint64_t expected_breaches_ = 0;
};

TEST_F(DispatcherTest, EveryOperationOfTheProtocolIsServed) {
  for (wire::Opcode opcode : wire::AllOpcodes()) {
    const Operation* operation = FindOperation(static_cast<uint16_t>(opcode));
    ASSERT_NE(operation, nullptr) << wire::OpcodeName(opcode);
    EXPECT_EQ(operation->opcode, opcode);
    EXPECT_LT(operation->index, OperationCount());
  }
}

TEST_F(DispatcherTest, ACallBeforeTheHelloIsTheEnd) {
  auto client = Connect();
  client->Send(wire::PingRequest{}, 0);
  ExpectClosed(*client);
}

TEST_F(DispatcherTest, AHelloWithoutTheMagicNumberIsTheEnd) {
  auto client = Connect();
  wire::HelloRequest hello;
  hello.fixed = {0x12345678, wire::kVersion, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  client->Send(hello, wire::kSetUpSlot);
  ExpectClosed(*client);
}

TEST_F(DispatcherTest, ASecondHelloIsTheEnd) {
  auto client = Connect();
  client->Enter();
  wire::HelloRequest hello;
  hello.fixed = {wire::kMagic, wire::kVersion, 0, wire::kMaxPayloadBytes, 0, {0, 0}};
  client->Send(hello, wire::kSetUpSlot);
  ExpectClosed(*client);
}

TEST_F(DispatcherTest, AnUnknownOpcodeIsTheEnd) {
  for (uint16_t opcode : {uint16_t{0}, uint16_t{6}, uint16_t{71}, uint16_t{65535}}) {
    auto client = Entered();
    client->SendBody(static_cast<wire::Opcode>(opcode), {}, 1);
    ExpectClosed(*client);
  }
}

TEST_F(DispatcherTest, ASlotBeyondTheCreditsIsTheEnd) {
  auto client = Entered();
  client->Send(wire::PingRequest{}, wire::kDefaultCredits);
  ExpectClosed(*client);
}

TEST_F(DispatcherTest, ASequenceNumberThatIsNotTheNextIsTheEnd) {
  for (uint32_t sequence : {0u, 2u, 0xffffffffu}) {
    auto client = Entered();
    wire::MessageHeader header{};
    header.opcode = static_cast<uint16_t>(wire::Opcode::kPing);
    header.slot = 9;
    header.sequence = sequence;
    client->SendRaw(header, {});
    ExpectClosed(*client);
  }
}

TEST_F(DispatcherTest, ABodyThatIsCutShortOrTooLongIsTheEndForEveryOperation) {
  for (wire::Opcode opcode : wire::AllOpcodes()) {
    if (opcode == wire::Opcode::kHello) continue;
    auto client = Entered();
    std::vector<std::byte> body(1900, std::byte{0});  // longer than any, or a field out of bounds
    body[0] = std::byte{1};
    client->SendBody(opcode, body, 1);
    ExpectClosed(*client);
  }
}

TEST_F(DispatcherTest, AnEmptyBodyIsTheEndWhereThereAreFields) {
  for (wire::Opcode opcode : wire::AllOpcodes()) {
    if (opcode == wire::Opcode::kHello || opcode == wire::Opcode::kPing) continue;
    if (opcode == wire::Opcode::kEnd) continue;
    auto client = Entered();
    client->SendBody(opcode, {}, 1);
    ExpectClosed(*client);
  }
}

TEST_F(DispatcherTest, WhatContradictsItselfIsTheEnd) {
  const wire::FileHandle root = root_, file = file_;
  wire::FileHandle forged = file;
  forged.bytes[5] = 99;
  wire::FileHandle foreign = file;
  foreign.bytes[0] = 8;
  auto sink = [this](size_t size) { return Sink(size); };
  auto source = [this](size_t size) { return Source(std::string(size, 'w')); };
  const wire::LockRange range{1, 0, 10, wire::LockType::kRead, 1};
  const std::vector<std::pair<const char*, std::function<void(RawClient&)>>> cases = {
      {"read without a sink",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, 8192}, 1);
       }},
      {"read into a small sink",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, 8192}, 1, sink(8191));
       }},
      {"read over the limit",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, wire::kMaxPayloadBytes + 1}, 1, sink(1 << 20));
       }},
      {"read with a source",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, 8192}, 1, source(8192));
       }},
      {"read with payload",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, 10}, 1, {.inline_payload = "abc"});
       }},
      {"read with a reserved field",
       [&](auto& c) {
         c.Send(wire::ReadRequest{5, 0, 10, 1}, 1);
       }},
      {"write of more than came",
       [&](auto& c) {
         c.Send(wire::WriteRequest{5, 0, 4}, 1, {.inline_payload = "abc"});
       }},
      {"write of less than came",
       [&](auto& c) {
         c.Send(wire::WriteRequest{5, 0, 100}, 1, source(8192));
       }},
      {"write into a sink",
       [&](auto& c) {
         c.Send(wire::WriteRequest{5, 0, 8192}, 1, sink(8192));
       }},
      {"write with unknown options",
       [&](auto& c) {
         c.Send(wire::WriteRequest{5, 0, 3, 128}, 1, {.inline_payload = "abc"});
       }},
      {"readdir without a sink",
       [&](auto& c) {
         c.Send(wire::ReadDirRequest{{}, 5, 0, 8192}, 1);
       }},
      {"attach without a path", [&](auto& c) { c.Send(wire::AttachRequest{}, 1); }},
      {"attach with a NUL",
       [&](auto& c) {
         c.Send(wire::AttachRequest{}, 1, {.inline_payload = std::string("/a\0b", 4)});
       }},
      {"open id 0",
       [&](auto& c) {
         c.Send(wire::OpenRequest{{}, file, 0, O_RDONLY}, 1);
       }},
      {"open that asks for more than it may",
       [&](auto& c) {
         constexpr uint32_t kSize = wire::kMaxOpenReadBytes + 1;
         c.Send(wire::OpenRequest{{}, file, 6, O_RDONLY, 0, kSize}, 1, sink(kSize));
       }},
      {"open that asks for bytes without a sink",
       [&](auto& c) {
         c.Send(wire::OpenRequest{{}, file, 6, O_RDONLY, 0, 8192}, 1);
       }},
      {"open id in use",
       [&](auto& c) {
         c.Send(wire::OpenRequest{{}, file, 5, O_RDONLY}, 1);
       }},
      {"forged handle",
       [&](auto& c) {
         c.Send(wire::GetAttrRequest{{}, forged}, 1);
       }},
      {"handle of another export",
       [&](auto& c) {
         c.Send(wire::GetAttrRequest{{}, foreign}, 1);
       }},
      {"empty handle", [&](auto& c) { c.Send(wire::GetAttrRequest{}, 1); }},
      {"open file of another object",
       [&](auto& c) {
         c.Send(wire::GetAttrRequest{{}, root, 5}, 1);
       }},
      {"name with a slash",
       [&](auto& c) {
         c.Send(wire::LookupRequest{{}, root, "a/b"}, 1);
       }},
      {"name ..",
       [&](auto& c) {
         c.Send(wire::LookupRequest{{}, root, ".."}, 1);
       }},
      {"lock of no type",
       [&](auto& c) {
         c.Send(wire::SetLockRequest{5, {1, 0, 10, static_cast<wire::LockType>(3), 1}}, 1);
       }},
      {"lock range backwards",
       [&](auto& c) {
         c.Send(wire::SetLockRequest{5, {1, 10, 0, wire::LockType::kRead, 1}}, 1);
       }},
      {"lock with unknown flags",
       [&](auto& c) {
         c.Send(wire::SetLockRequest{5, range, 4}, 1);
       }},
      {"xattr without a name",
       [&](auto& c) {
         c.Send(wire::GetXattrRequest{{}, file, "", 0}, 1);
       }},
      {"xattr over the limit",
       [&](auto& c) {
         c.Send(wire::GetXattrRequest{{}, file, "user.a", wire::kMaxXattrBytes + 1}, 1,
                sink(1 << 17));
       }},
      {"stray payload",
       [&](auto& c) { c.Send(wire::PingRequest{}, 1, {.inline_payload = "abc"}); }},
  };
  for (const auto& [what, send] : cases) {
    SCOPED_TRACE(what);
    auto client = Entered();
    send(*client);
    ExpectClosed(*client);
  }
}

}  // namespace
}  // namespace rdmafs::server
