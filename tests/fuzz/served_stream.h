// ServedStream: what a client sends to a server after it has attached, as bytes of the TCP stream.
#pragma once

#include <string>

#include "absl/types/span.h"
#include "tests/server/server_fixture.h"
#include "transport/base/log.h"

namespace rdmafs::server {

// A server with a MemoryStore on a port of 127.0.0.1. One thread's.
class ServedStream final : public ServerFixture {
 public:
  ServedStream() {
    OpenLog("fuzz", LogTarget::kStandardError, LogLevel::kError);  // not a line for every peer
    SetUp();
  }
  void TestBody() override {}
  using ServerFixture::StopServer;

  // A connection of its own says hello, attaches, sends `stream`, and nothing more. Returns when
  // the server has closed it; aborts when that takes more than 20 s.
  void Send(absl::Span<const uint8_t> stream);
  // A message that may stand in a stream.
  static std::string Message(wire::Opcode opcode, uint16_t slot, uint32_t sequence,
                             absl::Span<const std::byte> body,
                             const std::string& inline_payload = "");
  wire::FileHandle RootHandle() { return Connect()->Enter(); }
};

}  // namespace rdmafs::server
