// FrameReader: takes messages and payload off a byte stream, payload straight to where it
// belongs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "transport/connection.h"
#include "transport/tcp/byte_stream.h"
#include "transport/tcp/staging.h"
#include "transport/wire/header.h"

namespace rdmafs {

// A pull parser: the owner asks for the Next() thing until kDrained, and says after a message
// whether payload follows it. Messages are views into staging blocks. Owned by one shard thread;
// must outlive its messages.
class FrameReader {
 public:
  enum class Event {
    kMessage,  // a whole message with a sound header: call TakeMessage()
    kPayload,  // what ReadPayload() or SkipPayload() asked for is done
    kDrained,  // nothing more to read until MarkReadable()
    kEnd,      // the peer's end of the stream
    kError,    // error() of the stream
    kFault,    // fault() in a header
  };

  // `expect_reply`: whether this side is the client.
  FrameReader(StagingPool& pool, bool expect_reply) : pool_(pool), expect_reply_(expect_reply) {}
  ~FrameReader();
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;

  Event Next(ByteStream& stream);

  // The message of the kMessage just returned.
  ReceivedMessage TakeMessage();
  // Up to `limit` bytes behind that message which were read along with it, and are payload. A view
  // that lives as long as the message.
  absl::Span<const std::byte> TakeSwallowed(size_t limit);
  // The next destination.size() / size bytes of the stream are payload. Next() says kPayload when
  // done.
  void ReadPayload(absl::Span<std::byte> destination);
  void SkipPayload(size_t size);
  // As ReadPayload(), but all goes into a file as long as that takes it, beginning with `head`,
  // which was swallowed. At its kPayload written_through() bytes did, and what did not is in its
  // place. The file stays open until then.
  void ReadPayloadThrough(const FileRange& file, absl::Span<const std::byte> head,
                          absl::Span<std::byte> destination);
  size_t written_through() const { return written_through_; }
  // As ReadPayload(), but all goes into `pipe`, where Begin() has been called. At its kPayload
  // either the pipe holds it or, where it did not fit, the pipe is empty.
  void ReadPayloadByPipe(PayloadPipe& pipe, absl::Span<std::byte> destination);

  // From now on read no more than whole messages, plus `look_ahead` bytes (at least a header) of
  // the next, so that payload stays in the socket until its destination is known.
  void ReadExactly(size_t look_ahead);
  // Read as much as there is: the fewest system calls while no payload is to come.
  void ReadInBatches() { look_ahead_ = 0; }

  // epoll said so. `ending`: an end or an error is behind the data, so a short read is not the last
  // one.
  void MarkReadable(bool ending) {
    readable_ = true;
    ending_ |= ending;
  }
  bool readable() const { return readable_; }

  int error() const { return error_; }
  const char* fault() const { return fault_; }
  // The header that it is in.
  const wire::MessageHeader& faulty_header() const { return header_; }
  // Bytes that were read but not parsed; and whether the stream stands inside a message or payload.
  size_t unparsed_bytes() const { return fill_ - parse_; }
  bool mid_frame() const { return fill_ != parse_ || payload_left_ != 0; }
  uint64_t bytes_read() const { return bytes_read_; }
  // Messages taken and not dropped yet.
  size_t held_count() const { return held_count_; }

 private:
  static void Release(void* owner, uint64_t token);
  bool Parse(Event& event);
  // False when `event` is to be returned.
  bool Read(ByteStream& stream, Event& event);
  ssize_t ReadOnce(ByteStream& stream, bool& drained);
  ssize_t ReadThrough(ByteStream& stream, bool& drained);
  ssize_t ReadByPipe(ByteStream& stream, bool& drained);
  void Account(size_t size);
  size_t StagingWant() const;
  void PrepareBlock();
  void RetireBlock();
  void GiveBackWhenIdle();

  StagingPool& pool_;
  const bool expect_reply_;

  StagingPool::Block block_;
  size_t parse_ = 0, fill_ = 0;  // block_'s bytes between them are not parsed yet
  bool header_known_ = false;    // header_ is that of the message at parse_
  wire::MessageHeader header_{};
  size_t message_start_ = 0;  // of the message last returned, in block_
  size_t look_ahead_ = 0;     // 0: batches

  bool payload_active_ = false;
  std::byte* payload_ = nullptr;  // nullptr: thrown away
  size_t payload_left_ = 0;
  PayloadPipe* payload_pipe_ = nullptr;  // takes it instead
  int payload_file_ = -1;  // takes it before payload_ does
  uint64_t payload_offset_ = 0;
  size_t written_through_ = 0;

  bool readable_ = false, ending_ = false;
  int error_ = 0;
  const char* fault_ = nullptr;
  uint64_t bytes_read_ = 0;
  size_t held_count_ = 0;
};

}  // namespace rdmafs
