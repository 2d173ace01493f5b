#include "transport/wire/header.h"

namespace rdmafs::wire {

const char* FindHeaderFault(const MessageHeader& header, bool expect_reply) {
  if (header.size < sizeof(MessageHeader) || header.size > kMaxMessageBytes) return "message size";
  if (header.inline_size > kMaxInlineBytes) return "inline payload size";
  if (header.inline_size > header.size - sizeof(MessageHeader))
    return "inline payload beyond message";
  if (header.size - sizeof(MessageHeader) - header.inline_size > kMaxBodyBytes) return "body size";
  if (header.remote_size > kMaxPayloadBytes) return "payload size";
  if (header.slot >= kMaxCredits) return "slot number";
  if (((header.flags & kFlagReply) != 0) != expect_reply) return "direction";
  const uint16_t memory = header.flags & (kFlagSource | kFlagSink);
  const bool few_pieces = (header.flags & kFlagFewPieces) != 0;
  if ((header.flags & ~(kFlagReply | kFlagSource | kFlagSink | kFlagFewPieces)) != 0)
    return "unknown flags";
  if (few_pieces && memory != kFlagSink) return "pieces without a sink";
  if (expect_reply) {
    if (memory != 0) return "memory offered by the server";
    if (header.credits > kMaxCredits) return "credits";
  } else {
    if (memory == (kFlagSource | kFlagSink)) return "memory offered in both directions";
    if ((memory == 0) != (header.remote_size == 0)) return "payload without memory";
    if (header.status != 0 || header.credits != 0) return "reply fields in a request";
  }
  return nullptr;
}

}  // namespace rdmafs::wire
