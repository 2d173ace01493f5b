// FindHeaderFault: which headers are sound, at the edges of every limit.
#include "transport/wire/header.h"

#include <gtest/gtest.h>

#include <cstring>

namespace rdmafs::wire {
namespace {

MessageHeader Request() {
  MessageHeader header{};
  header.size = sizeof header;
  header.opcode = 3;
  return header;
}
MessageHeader Reply() {
  MessageHeader header = Request();
  header.flags = kFlagReply;
  return header;
}

struct Case {
  const char* what;
  void (*change)(MessageHeader&);
  const char* fault;  // nullptr: sound
};

const Case kRequests[] = {
    {"plain", [](MessageHeader&) {}, nullptr},
    {"smallest", [](MessageHeader& h) { h.size = 39; }, "message size"},
    {"largest",
     [](MessageHeader& h) {
       h.size = kMaxMessageBytes;
       h.inline_size = kMaxInlineBytes;
     },
     nullptr},
    {"larger", [](MessageHeader& h) { h.size = kMaxMessageBytes + 1; }, "message size"},
    {"most body", [](MessageHeader& h) { h.size = 40 + kMaxBodyBytes; }, nullptr},
    {"more body", [](MessageHeader& h) { h.size = 40 + kMaxBodyBytes + 1; }, "body size"},
    {"inline in full",
     [](MessageHeader& h) {
       h.size = 40 + 10;
       h.inline_size = 10;
     },
     nullptr},
    {"inline too large",
     [](MessageHeader& h) {
       h.size = 40 + 10;
       h.inline_size = 11;
     },
     "inline payload beyond message"},
    {"inline over its limit", [](MessageHeader& h) { h.inline_size = kMaxInlineBytes + 1; },
     "inline payload size"},
    {"last slot", [](MessageHeader& h) { h.slot = kMaxCredits - 1; }, nullptr},
    {"no such slot", [](MessageHeader& h) { h.slot = kMaxCredits; }, "slot number"},
    {"source",
     [](MessageHeader& h) {
       h.flags = kFlagSource;
       h.remote_size = kMaxPayloadBytes;
     },
     nullptr},
    {"sink",
     [](MessageHeader& h) {
       h.flags = kFlagSink;
       h.remote_size = 1;
     },
     nullptr},
    {"too much",
     [](MessageHeader& h) {
       h.flags = kFlagSink;
       h.remote_size = kMaxPayloadBytes + 1;
     },
     "payload size"},
    {"empty sink", [](MessageHeader& h) { h.flags = kFlagSink; }, "payload without memory"},
    {"no memory", [](MessageHeader& h) { h.remote_size = 1; }, "payload without memory"},
    {"both",
     [](MessageHeader& h) {
       h.flags = kFlagSink | kFlagSource;
       h.remote_size = 1;
     },
     "memory offered in both directions"},
    {"unknown flag", [](MessageHeader& h) { h.flags = 1 << 4; }, "unknown flags"},
    {"pieces of a source",
     [](MessageHeader& h) {
       h.flags = kFlagSource | kFlagFewPieces;
       h.remote_size = 1;
     },
     "pieces without a sink"},
    {"reply", [](MessageHeader& h) { h.flags = kFlagReply; }, "direction"},
    {"status", [](MessageHeader& h) { h.status = 1; }, "reply fields in a request"},
    {"credits", [](MessageHeader& h) { h.credits = 1; }, "reply fields in a request"},
};

const Case kReplies[] = {
    {"plain", [](MessageHeader&) {}, nullptr},
    {"delivered", [](MessageHeader& h) { h.remote_size = kMaxPayloadBytes; }, nullptr},
    {"too much", [](MessageHeader& h) { h.remote_size = kMaxPayloadBytes + 1; }, "payload size"},
    {"status and credits",
     [](MessageHeader& h) {
       h.status = 5;
       h.credits = kMaxCredits;
     },
     nullptr},
    {"too many credits", [](MessageHeader& h) { h.credits = kMaxCredits + 1; }, "credits"},
    {"memory", [](MessageHeader& h) { h.flags |= kFlagSink; }, "memory offered by the server"},
    {"request", [](MessageHeader& h) { h.flags = 0; }, "direction"},
};

void ExpectFault(const Case& test, MessageHeader header, bool expect_reply) {
  SCOPED_TRACE(test.what);
  test.change(header);
  const char* fault = FindHeaderFault(header, expect_reply);
  if (test.fault == nullptr) {
    EXPECT_EQ(fault, nullptr) << fault;
  } else {
    EXPECT_STREQ(fault, test.fault);
  }
}

TEST(MessageHeader, RequestsAreCheckedAtEveryLimit) {
  for (const Case& test : kRequests) ExpectFault(test, Request(), /*expect_reply=*/false);
}

TEST(MessageHeader, RepliesAreCheckedAtEveryLimit) {
  for (const Case& test : kReplies) ExpectFault(test, Reply(), /*expect_reply=*/true);
}

TEST(MessageHeader, StandsOnTheWireAsDocumented) {
  MessageHeader header{};
  header.size = 0x04030201;
  header.slot = 0x0605;
  header.remote_size = 0x0a090807;
  unsigned char bytes[sizeof header];
  std::memcpy(bytes, &header, sizeof header);
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(bytes[3], 4);
  EXPECT_EQ(bytes[6], 5);
  EXPECT_EQ(bytes[7], 6);
  EXPECT_EQ(bytes[36], 7);
  EXPECT_EQ(bytes[39], 0x0a);
}

}  // namespace
}  // namespace rdmafs::wire
