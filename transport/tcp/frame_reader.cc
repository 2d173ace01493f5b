#include "transport/tcp/frame_reader.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

constexpr size_t kHeaderBytes = sizeof(wire::MessageHeader);
// A batch is not begun in less room than this: it would end in the middle of its first message.
constexpr size_t kMinBatchBytes = 8 << 10;

}  // namespace

FrameReader::Event FrameReader::Next(ByteStream& stream) {
  Event event;
  while (true) {
    if (payload_left_ == 0) {
      if (std::exchange(payload_active_, false)) return Event::kPayload;
      if (Parse(event)) return event;
    }
    if (!readable_) {
      GiveBackWhenIdle();
      return Event::kDrained;
    }
    if (!Read(stream, event)) return event;
  }
}

bool FrameReader::Parse(Event& event) {
  const size_t have = unparsed_bytes();
  if (!header_known_) {
    if (have < kHeaderBytes) return false;
    std::memcpy(&header_, block_->bytes.data() + parse_, kHeaderBytes);
    fault_ = wire::FindHeaderFault(header_, expect_reply_);
    if (fault_ != nullptr) {
      event = Event::kFault;
      return true;
    }
    header_known_ = true;
  }
  if (have < header_.size) return false;
  message_start_ = parse_;
  parse_ += header_.size;
  header_known_ = false;
  event = Event::kMessage;
  return true;
}

ReceivedMessage FrameReader::TakeMessage() {
  ++block_->references;
  ++held_count_;
  auto tail = absl::MakeConstSpan(block_->bytes.data() + message_start_ + kHeaderBytes,
                                  header_.size - kHeaderBytes);
  return ReceivedMessage(header_, tail, &FrameReader::Release, this,
                         reinterpret_cast<uint64_t>(block_.get()));
}

absl::Span<const std::byte> FrameReader::TakeSwallowed(size_t limit) {
  const size_t size = std::min(limit, unparsed_bytes());
  auto swallowed = absl::MakeConstSpan(block_->bytes.data() + parse_, size);
  parse_ += size;
  return swallowed;
}

void FrameReader::ReadPayload(absl::Span<std::byte> destination) {
  DCHECK(!payload_active_);
  payload_active_ = true;
  payload_ = destination.data();
  payload_file_ = -1;
  payload_left_ = destination.size();
  payload_pipe_ = nullptr;
  written_through_ = 0;
}

void FrameReader::ReadPayloadByPipe(PayloadPipe& pipe, absl::Span<std::byte> destination) {
  ReadPayload(destination);
  payload_pipe_ = &pipe;
}

void FrameReader::SkipPayload(size_t size) {
  DCHECK(!payload_active_);
  payload_active_ = true;
  payload_ = nullptr;
  payload_file_ = -1;
  payload_pipe_ = nullptr;
  payload_left_ = size;
}

void FrameReader::ReadPayloadThrough(const FileRange& file, absl::Span<const std::byte> head,
                                     absl::Span<std::byte> destination) {
  ReadPayload(destination);
  while (written_through_ < head.size()) {
    const auto left = head.subspan(written_through_);
    const ssize_t size = pwrite(file.fd, left.data(), left.size(),
                                static_cast<off_t>(file.offset + written_through_));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return;
    written_through_ += static_cast<size_t>(size);
  }
  payload_file_ = file.fd;
  payload_offset_ = file.offset;
}

void FrameReader::ReadExactly(size_t look_ahead) {
  look_ahead_ = std::clamp(look_ahead, kHeaderBytes, size_t{wire::kMaxMessageBytes});
}

bool FrameReader::Read(ByteStream& stream, Event& event) {
  bool drained = false;
  const ssize_t got = ReadOnce(stream, drained);
  if (got > 0) {
    if (drained && !ending_) readable_ = false;
    Account(static_cast<size_t>(got));
    return true;
  }
  if (got == 0) {
    event = Event::kEnd;
    return false;
  }
  if (errno == EINTR) return true;
  if (errno == EAGAIN || errno == EWOULDBLOCK) {
    readable_ = false;
    return true;
  }
  error_ = errno;
  event = Event::kError;
  return false;
}

ssize_t FrameReader::ReadOnce(ByteStream& stream, bool& drained) {
  if (payload_left_ != 0 && payload_file_ >= 0) return ReadThrough(stream, drained);
  if (payload_left_ != 0 && payload_pipe_ != nullptr) return ReadByPipe(stream, drained);
  if (payload_left_ != 0 && payload_ == nullptr) return stream.Discard(payload_left_, drained);
  PrepareBlock();
  iovec parts[2];
  int count = 0;
  if (payload_left_ != 0) parts[count++] = {payload_, payload_left_};
  parts[count++] = {block_->bytes.data() + fill_, StagingWant()};
  return stream.Read(parts, count, drained);
}

ssize_t FrameReader::ReadThrough(ByteStream& stream, bool& drained) {
  size_t written = 0;
  const ssize_t got = stream.ReadThrough(payload_file_, payload_offset_ + written_through_,
                                         {payload_, payload_left_}, written, drained);
  written_through_ += written;
  if (got > 0 && written < static_cast<size_t>(got)) payload_file_ = -1;
  return got;
}

ssize_t FrameReader::ReadByPipe(ByteStream& stream, bool& drained) {
  drained = false;  // less than was asked for may be all that the pipe takes
  const ssize_t got = stream.ReadByPipe(*payload_pipe_, payload_left_);
  if (got >= 0 || errno != EAGAIN) return got;
  if (!payload_pipe_->full()) {
    errno = EAGAIN;
    return got;
  }
  PayloadPipe& pipe = *std::exchange(payload_pipe_, nullptr);
  if (!pipe.Spill(payload_ - pipe.size())) {
    errno = EIO;  // bytes of the stream are lost
    return -1;
  }
  return ReadOnce(stream, drained);
}

void FrameReader::Account(size_t size) {
  bytes_read_ += size;
  const size_t payload = std::min(size, payload_left_);
  payload_left_ -= payload;
  if (payload_ != nullptr) payload_ += payload;
  fill_ += size - payload;
}

size_t FrameReader::StagingWant() const {
  const size_t have = unparsed_bytes();
  const size_t message_end = header_known_ ? parse_ + header_.size : 0;
  const size_t room = std::max(StagingBlock::kBatchBytes, message_end) - fill_;
  if (look_ahead_ == 0) return room;
  if (!header_known_) {
    // Behind half a header there may be payload of the message that it opens: only the header then,
    // unless the owner asked to look further.
    return std::min(room, look_ahead_ - have);
  }
  const bool payload_follows = header_.remote_size != 0;
  return std::min(room, header_.size - have + (payload_follows ? 0 : look_ahead_));
}

// Sees to it that block_ has room for StagingWant() bytes, and that this is more than 0.
void FrameReader::PrepareBlock() {
  if (block_ != nullptr && parse_ == fill_ && block_->references == 0) parse_ = fill_ = 0;
  if (header_known_) return;  // a block has room for the rest of any message that began in it
  const size_t needed = look_ahead_ != 0 ? look_ahead_ : kMinBatchBytes;
  if (block_ != nullptr && parse_ + needed <= StagingBlock::kBatchBytes) return;
  StagingPool::Block fresh = pool_.Take();
  const size_t have = unparsed_bytes();  // a part of a header, never of a payload
  if (have != 0) std::memcpy(fresh->bytes.data(), block_->bytes.data() + parse_, have);
  RetireBlock();
  block_ = std::move(fresh);
  parse_ = 0;
  fill_ = have;
}

// From now on the block belongs to the messages in it, if there are any.
void FrameReader::RetireBlock() {
  if (block_ == nullptr) return;
  if (block_->references == 0) {
    pool_.Give(std::move(block_));
  } else {
    [[maybe_unused]] StagingBlock* held = block_.release();
  }
}

void FrameReader::GiveBackWhenIdle() {
  if (block_ == nullptr || parse_ != fill_ || block_->references != 0) return;
  pool_.Give(std::move(block_));
  parse_ = fill_ = 0;
}

void FrameReader::Release(void* owner, uint64_t token) {
  auto* reader = static_cast<FrameReader*>(owner);
  auto* block = reinterpret_cast<StagingBlock*>(token);
  --reader->held_count_;
  if (--block->references != 0) return;
  if (block != reader->block_.get()) {
    reader->pool_.Give(StagingPool::Block(block));
  } else if (!reader->readable_) {
    reader->GiveBackWhenIdle();
  }
}

FrameReader::~FrameReader() {
  CHECK(held_count_ == 0);  // a message outlives its connection
  RetireBlock();
}

}  // namespace rdmafs
