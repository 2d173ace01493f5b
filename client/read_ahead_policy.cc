#include "client/read_ahead_policy.h"

#include <algorithm>

#include "transport/base/check.h"

namespace rdmafs {
namespace {

// Less than that is not worth a round trip of its own.
constexpr uint64_t kMinFetchBytes = 16 * 1024;
// A window is fetched in about so many pieces: as one is used up, the others keep the link busy.
constexpr uint64_t kFetchesPerWindow = 16;
// Streams below this count as short. What they may waste of their bytes, and what longer ones may.
constexpr uint32_t kLongRun = 64;
constexpr uint64_t kShortRunWasteDivisor = 64;
constexpr uint64_t kLongRunWasteDivisor = 4;
// Parallel readers' reads come out of order by about so many.
constexpr uint64_t kReorderedReads = 4;
// Streams fetched ahead of and then not read for a while: with so many, no other is begun before it
// is known how these end.
constexpr int kMaxStalled = 2;

}  // namespace

ReadAheadPolicy::StreamId ReadAheadPolicy::OnRead(uint64_t offset, uint32_t size) {
  ++read_count_;
  EndIdle();
  Stream* stream = FindContinued(offset, size, true);
  Stream* near = stream == nullptr ? FindNear(offset) : nullptr;
  if (near != nullptr && near->IsLate(offset)) stream = near;
  // Before strides: several readers with equal distances between them are several sequential
  // readers.
  if (stream == nullptr) stream = BeginContiguous(offset, size);
  if (stream == nullptr) stream = FindContinued(offset, size, false);
  if (stream == nullptr) stream = near;
  if (stream == nullptr) stream = BeginStrided(offset, size);
  if (stream != nullptr) {
    stream == near ? StepOver(*stream, offset, size) : Advance(*stream, offset, size);
  }
  recent_[recent_next_] = {offset, size};
  recent_next_ = (recent_next_ + 1) % kRecentReads;
  if (stream == nullptr) {
    OnMiss();
    return 0;
  }
  stream->last_use = read_count_;
  if (stream->window != 0) last_stream_ = stream->id;
  return stream->id;
}

// --- Streams ---

bool ReadAheadPolicy::Stream::ContinuedBy(uint64_t offset, uint32_t size) const {
  if (Forward()) return offset == end();
  if (Backward()) return offset + size == last_offset;
  return size == read_size && offset == last_offset + static_cast<uint64_t>(stride);
}

bool ReadAheadPolicy::Stream::IsNear(uint64_t offset) const {
  if (window == 0 || !Forward()) return false;
  if (offset >= end()) return offset - end() < ahead_bytes + kReorderedReads * read_size;
  return IsLate(offset) || end() - offset <= std::min(run_bytes, window);
}

bool ReadAheadPolicy::Stream::IsLate(uint64_t offset) const {
  return offset < end() && end() - offset <= kReorderedReads * read_size;
}

ReadAheadPolicy::Stream* ReadAheadPolicy::FindContinued(uint64_t offset, uint32_t size,
                                                        bool contiguous) {
  for (Stream& stream : streams_) {
    if (stream.id != 0 && stream.Contiguous() == contiguous && stream.ContinuedBy(offset, size)) {
      return &stream;
    }
  }
  return nullptr;
}

ReadAheadPolicy::Stream* ReadAheadPolicy::FindNear(uint64_t offset) {
  for (Stream& stream : streams_) {
    if (stream.id != 0 && stream.IsNear(offset)) return &stream;
  }
  return nullptr;
}

ReadAheadPolicy::Stream* ReadAheadPolicy::BeginContiguous(uint64_t offset, uint32_t size) {
  const Recent* before = nullptr;
  const Recent* behind = nullptr;
  for (const Recent& read : recent_) {
    if (read.size == 0) continue;
    if (read.end() == offset) before = &read;
    if (read.offset == offset + size) behind = &read;
  }
  // Both: it fills a hole, and says nothing about what comes.
  if ((before == nullptr) == (behind == nullptr)) return nullptr;
  const Recent& first = before != nullptr ? *before : *behind;
  const int64_t stride = before != nullptr ? int64_t{first.size} : -int64_t{first.size};
  return Begin(first.offset, first.size, stride, 1);
}

ReadAheadPolicy::Stream* ReadAheadPolicy::BeginStrided(uint64_t offset, uint32_t size) {
  const Recent& last = Back(1);
  const Recent& before = Back(2);
  if (last.size != size || before.size != size) return nullptr;
  const uint64_t stride = offset - last.offset;
  if (stride == 0 || stride != last.offset - before.offset) return nullptr;
  return Begin(last.offset, size, static_cast<int64_t>(stride), 2);
}

ReadAheadPolicy::Stream* ReadAheadPolicy::Begin(uint64_t offset, uint32_t size, int64_t stride,
                                                uint32_t run) {
  for (Stream& stream : streams_) {
    if (stream.id != 0) continue;
    stream.id = next_id_++;
    stream.last_offset = offset;
    stream.read_size = size;
    stream.stride = stride;
    stream.run = run;
    stream.run_bytes = uint64_t{run} * size;
    return &stream;
  }
  return nullptr;  // those that are followed stay; one of them will end
}

void ReadAheadPolicy::Advance(Stream& stream, uint64_t offset, uint32_t size) {
  if (stream.Contiguous()) stream.stride = stream.Forward() ? int64_t{size} : -int64_t{size};
  ++stream.run;
  stream.run_bytes += size;
  stream.ahead_bytes -= std::min<uint64_t>(stream.ahead_bytes, size);
  stream.last_offset = offset;
  stream.read_size = size;
  Grow(stream, size);
}

bool ReadAheadPolicy::MayStart(const Stream& stream) const {
  if (stream.run < (stream.Forward() ? required_forward_ : required_other_)) return false;
  int stalled = 0;
  for (const Stream& other : streams_) {
    stalled +=
        other.window != 0 && other.ahead_bytes != 0 && read_count_ - other.last_use > kMaxStreams;
  }
  return stalled < kMaxStalled;
}

void ReadAheadPolicy::Grow(Stream& stream, uint32_t size) {
  if (stream.window == 0) {
    if (window_cap_ < size || !MayStart(stream)) return;
    stream.window = std::min(window_cap_, std::max(uint64_t{2} * size, kMinFetchBytes));
    stream.read_since_growth = 0;
    return;
  }
  if (stream.peak_window != 0) {  // it goes on: the misses were others' reads
    stream.window = std::min(stream.peak_window, stream.window * 2);
    if (stream.window == stream.peak_window) stream.peak_window = 0;
  }
  stream.read_since_growth += size;
  if (stream.read_since_growth < stream.window || stream.window >= window_cap_) return;
  stream.window = std::min(window_cap_, stream.window * 2);
  stream.read_since_growth = 0;
}

void ReadAheadPolicy::StepOver(Stream& stream, uint64_t offset, uint32_t size) {
  if (offset < stream.end()) {  // late, or once more
    stream.skipped_bytes -= std::min<uint64_t>(stream.skipped_bytes, size);
    return Grow(stream, size);
  }
  const uint64_t gap = offset - stream.end();
  stream.skipped_bytes += std::min(gap, stream.ahead_bytes);
  stream.ahead_bytes -= std::min(stream.ahead_bytes, gap + size);
  stream.last_offset = offset;
  stream.read_size = size;
  stream.stride = size;
  ++stream.run;
  stream.run_bytes += size;
  if (stream.skipped_bytes <= std::max(stream.window / 4, kReorderedReads * size)) {
    return Grow(stream, size);
  }
  stream.window = std::max<uint64_t>(stream.window / 2, size);
  stream.read_since_growth = 0;
}

void ReadAheadPolicy::OnMiss() {
  Stream* stream = Find(last_stream_);
  if (stream == nullptr || stream->window == 0) return;
  stream->peak_window = std::max(stream->peak_window, stream->window);
  stream->window = std::max<uint64_t>(stream->window / 2, stream->read_size);
}

// --- How they end ---

void ReadAheadPolicy::Judge(const Stream& stream) {
  if (stream.window == 0) return;
  uint64_t ahead = stream.ahead_bytes;
  if (stream.Forward()) {  // the last piece may reach over the end of the file
    ahead = std::min(ahead, file_size_ - std::min(file_size_, stream.end()));
  }
  const uint64_t wasted = ahead + stream.skipped_bytes;
  const uint32_t least = stream.Forward() ? 2 : 3;
  uint32_t& required = stream.Forward() ? required_forward_ : required_other_;
  if (stream.run >= kLongRun) {
    if (wasted * kLongRunWasteDivisor > stream.run_bytes) {
      window_cap_ =
          std::max(std::min(window_cap_, 8 * uint64_t{stream.read_size}), window_cap_ / 2);
    } else {
      window_cap_ = std::min(options_.max_window_bytes, window_cap_ * 2);
      required = std::max(least, required / 2);
    }
  } else if (wasted * kShortRunWasteDivisor > stream.run_bytes) {
    required = std::max(required, 2 * stream.run);
  } else {
    required = std::max(least, required / 2);
  }
}

void ReadAheadPolicy::End(Stream& stream) {
  if (stream.window != 0) {
    Judge(stream);
    DCHECK(ended_count_ < ended_.size());  // TakeEnded() is called after every read
    if (ended_count_ < ended_.size()) ended_[ended_count_++] = stream.id;
  }
  stream = Stream{};
}

void ReadAheadPolicy::EndIdle() {
  for (Stream& stream : streams_) {
    if (stream.id != 0 && read_count_ - stream.last_use > kMaxIdleReads) End(stream);
  }
}

ReadAheadPolicy::StreamId ReadAheadPolicy::TakeEnded() {
  return ended_count_ == 0 ? 0 : ended_[--ended_count_];
}

void ReadAheadPolicy::OnInvalidated() {
  for (Stream& stream : streams_) {
    if (stream.id == 0) continue;
    Judge(stream);
    // Whoever changes the file between their reads must not have it fetched after each change.
    stream.run = 1;
    stream.run_bytes = stream.read_size;
    stream.window = stream.peak_window = stream.read_since_growth = 0;
    stream.ahead_bytes = stream.skipped_bytes = 0;
  }
}

// --- What to fetch ---

std::optional<ReadAheadPolicy::Fetch> ReadAheadPolicy::Next(StreamId id) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->window == 0) return std::nullopt;
  return stream->Contiguous() ? NextContiguous(*stream) : NextStrided(*stream);
}

uint32_t ReadAheadPolicy::FetchSize(const Stream& stream) const {
  // A multiple of the reads, so that none of them falls on two pieces.
  const uint64_t target = std::max(stream.window / kFetchesPerWindow, kMinFetchBytes);
  const uint64_t limit = std::min<uint64_t>(target, options_.max_fetch_bytes);
  const uint64_t whole_reads = limit / stream.read_size * stream.read_size;
  return static_cast<uint32_t>(std::min<uint64_t>(std::max<uint64_t>(whole_reads, stream.read_size),
                                                  options_.max_fetch_bytes));
}

std::optional<ReadAheadPolicy::Fetch> ReadAheadPolicy::NextContiguous(Stream& stream) {
  uint32_t size = FetchSize(stream);
  if (stream.ahead_bytes != 0 && stream.ahead_bytes + size > stream.window) return std::nullopt;
  uint64_t offset = stream.end() + stream.ahead_bytes;
  if (stream.Backward()) {
    const uint64_t left = stream.last_offset - std::min(stream.ahead_bytes, stream.last_offset);
    size = static_cast<uint32_t>(std::min<uint64_t>(size, left));
    offset = left - size;
  }
  if (size == 0 || offset >= file_size_) return std::nullopt;
  stream.ahead_bytes += size;
  return Fetch{stream.id, offset, size};
}

std::optional<ReadAheadPolicy::Fetch> ReadAheadPolicy::NextStrided(Stream& stream) {
  const uint64_t ahead = stream.ahead_bytes / stream.read_size;
  if (ahead != 0 && stream.ahead_bytes + stream.read_size > stream.window) return std::nullopt;
  if (ahead >= kMaxFetches || stream.read_size > options_.max_fetch_bytes) return std::nullopt;
  int64_t distance, offset;
  if (__builtin_mul_overflow(stream.stride, static_cast<int64_t>(ahead + 1), &distance) ||
      __builtin_add_overflow(static_cast<int64_t>(stream.last_offset), distance, &offset) ||
      offset < 0 || static_cast<uint64_t>(offset) >= file_size_) {
    return std::nullopt;
  }
  stream.ahead_bytes += stream.read_size;
  return Fetch{stream.id, static_cast<uint64_t>(offset), stream.read_size};
}

void ReadAheadPolicy::GiveBack(const Fetch& fetch) {
  Stream* stream = Find(fetch.stream);
  if (stream != nullptr) stream->ahead_bytes -= std::min<uint64_t>(stream->ahead_bytes, fetch.size);
}

// --- Looking inside ---

ReadAheadPolicy::Stream* ReadAheadPolicy::Find(StreamId id) {
  if (id == 0) return nullptr;
  for (Stream& stream : streams_) {
    if (stream.id == id) return &stream;
  }
  return nullptr;
}

uint64_t ReadAheadPolicy::window(StreamId id) const {
  const Stream* stream = const_cast<ReadAheadPolicy*>(this)->Find(id);
  return stream == nullptr ? 0 : stream->window;
}

uint64_t ReadAheadPolicy::largest_window() const {
  uint64_t largest = 0;
  for (const Stream& stream : streams_) largest = std::max(largest, stream.window);
  return largest;
}

}  // namespace rdmafs
