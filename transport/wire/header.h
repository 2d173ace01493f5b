// The header that opens every message, and the limits of the protocol. See docs/protocol.md.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace rdmafs::wire {

static_assert(std::endian::native == std::endian::little,
              "the wire is little-endian and so are we");

inline constexpr uint32_t kMagic = 0x53464d52;  // "RMFS"
inline constexpr uint16_t kVersion = 4;

// Bytes of one READ's, WRITE's or directory's payload.
inline constexpr uint32_t kMaxPayloadBytes = 1u << 20;
// Payload up to this travels in the message itself.
inline constexpr uint32_t kMaxInlineBytes = 4096;
// Bytes of a message between its header and its inline payload.
inline constexpr uint32_t kMaxBodyBytes = 2048;
inline constexpr uint16_t kDefaultCredits = 64;
inline constexpr uint16_t kMaxCredits = 256;  // slots there are numbers for
// Hello, Attach and what re-establishes a session use this slot, whose sequence begins anew with
// every connection; the others' go on over connections for as long as the session lasts.
inline constexpr uint16_t kSetUpSlot = kMaxCredits - 1;
inline constexpr uint32_t kMaxNameBytes = 255;
inline constexpr uint32_t kMaxPathBytes = 4095;
inline constexpr uint32_t kMaxHandleBytes = 128;
inline constexpr uint32_t kMaxGroups = 256;
inline constexpr uint32_t kMaxXattrBytes = 64 * 1024;

enum Flags : uint16_t {
  kFlagReply = 1 << 0,
  kFlagSource = 1 << 1,  // request: remote_* names memory that the server reads (RDMA_READ)
  kFlagSink = 1 << 2,    // request: remote_* names memory that the server writes (RDMA_WRITE)
  // request with kFlagSink, over TCP: a pipe is going to take it, so it is to come in few pieces
  kFlagFewPieces = 1 << 3,
};

// Requests and replies alike; over RDMA it opens a SEND, over TCP a stretch of the stream.
struct MessageHeader {
  uint32_t size;            // of header, body and inline payload together
  uint16_t opcode;          // wire::Opcode; a reply repeats its request's
  uint16_t slot;            // < credits; at most one call in flight per slot and connection
  uint32_t sequence;        // of the slot; a reply repeats its request's
  uint16_t flags;           // Flags
  uint16_t credits;         // reply: calls that may be in flight from now on. Request: 0
  uint32_t status;          // reply: errno(3), 0 for success. Request: 0
  uint32_t inline_size;     // the last bytes of the message that are payload, <= kMaxInlineBytes
  // Request with kFlagSource/kFlagSink: of the client's memory (0 over TCP).
  uint64_t remote_address;
  uint32_t rkey;            // its rkey (0 over TCP)
  uint32_t remote_size;     // request: bytes of it. Reply: bytes delivered into the sink
};
static_assert(sizeof(MessageHeader) == 40);
static_assert(offsetof(MessageHeader, sequence) == 8 && offsetof(MessageHeader, status) == 16 &&
              offsetof(MessageHeader, remote_address) == 24 &&
              offsetof(MessageHeader, remote_size) == 36);
static_assert(std::has_unique_object_representations_v<MessageHeader>);

inline constexpr uint32_t kMaxMessageBytes =
    sizeof(MessageHeader) + kMaxBodyBytes + kMaxInlineBytes;

// What is wrong with a header that came from a peer, or nullptr. `expect_reply`: whether this side
// is the client. Every transport asks before it believes a size.
const char* FindHeaderFault(const MessageHeader& header, bool expect_reply);

}  // namespace rdmafs::wire
